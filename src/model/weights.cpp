#include "model/weights.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "kernels/packed_layout.h"
#include "model/weight_loader.h"

namespace trireme {

namespace {

constexpr int64_t kAlignment = 64;  // bytes, a cache line and a vector

// Lays out a stage's weights: with no memory, to know its size, then with the device's.
class Layout {
 public:
  Layout(const WeightSource& source, Packing packing, std::byte* memory)
      : source_(source), packing_(packing), memory_(memory) {}

  int64_t bytes() const { return used_; }
  std::vector<WeightMatrix>& matrices() { return matrices_; }

  using Source = WeightMatrix::Source;

  std::span<const float> vector(const std::string& name, int64_t size) {
    return floats({{&expect_floats(name, 1, size, UnitAxis::none, 1), {0, 1}}}, size);
  }

  Source vector_rows(const std::string& name, int64_t rows, int64_t unit_rows, UnitRange units) {
    return {&expect_floats(name, rows, 1, UnitAxis::rows, unit_rows), units};
  }
  // The units held of one or several vectors cut like the rows of a matrix, one after the other.
  std::span<const float> joined(std::vector<Source> sources) {
    int64_t size = 0;
    for (Source& s : sources) {
      s.first_row = size;
      size += rows_held(s);
    }
    return floats(std::move(sources), size);
  }

  Source rows(const std::string& name, int64_t rows, int64_t columns, int64_t unit_rows, UnitRange units) {
    return {&expect(name, rows, columns, UnitAxis::rows, unit_rows), units};
  }

  // The units held of one or several row-cut matrices, each at its first output.
  Projection projection(const std::vector<Source>& sources) {
    Projection p;
    std::vector<std::vector<Source>> held = divide(sources, packing_, p);
    for (size_t i = 0; i < p.parts.size(); i++) place(p.parts[i].w, std::move(held[i]));
    return p;
  }
  // The same of each unit held, which is an expert: a part of one after the other.
  Projection projections(std::vector<Source> sources) {
    const UnitRange experts = sources.front().units;
    Projection first;
    std::vector<std::vector<std::vector<Source>>> held;  // [experts][parts]
    for (int e = experts.begin; e < experts.end; e++) {
      for (Source& s : sources) s.units = {e, e + 1};
      first = {};
      held.push_back(divide(sources, own_packing(), first));
    }
    for (size_t i = 0; i < first.parts.size(); i++)
      place_experts(first.parts[i].w, experts.size(), [&](size_t e) { return std::move(held[e][i]); });
    return first;
  }

  // A matrix that every rank holds whole, and multiplies in FP32 whatever the mode: the router of experts.
  PackedView whole(const std::string& name, int64_t rows, int64_t columns) {
    const TensorInfo& t = expect(name, rows, columns, UnitAxis::none, 1);
    PackedView w = packed_form(t.format, Numerics::exact);
    w.n = rows, w.k = columns;
    place(w, {{&t, {0, 1}}});
    return w;
  }

  PackedView columns(const std::string& name, int64_t rows, int64_t columns, int64_t unit_columns, UnitRange units) {
    const TensorInfo& t = expect(name, rows, columns, UnitAxis::columns, unit_columns);
    PackedView w = form_of(t, packing_);
    w.n = rows;
    w.k = std::min(units.end * t.unit_columns, columns) - units.begin * t.unit_columns;
    place(w, {{&t, units}});
    return w;
  }
  PackedView columns_of_each(const std::string& name, int64_t rows, int64_t columns, int64_t unit, UnitRange experts) {
    const TensorInfo& t = expect(name, rows, columns, UnitAxis::columns, unit);
    PackedView w = form_of(t, own_packing());
    w.n = rows, w.k = unit;
    place_experts(w, experts.size(), [&](size_t i) {
      const int e = experts.begin + static_cast<int>(i);
      return std::vector<Source>{{&t, {e, e + 1}}};
    });
    return w;
  }

 private:
  // unit: rows or columns of a unit, whichever the units cut.
  const TensorInfo& expect(const std::string& name, int64_t rows, int64_t columns, UnitAxis axis, int64_t unit) {
    const TensorInfo& t = source_.get_tensor(name);
    int64_t cut = axis == UnitAxis::rows ? t.unit_rows : axis == UnitAxis::columns ? t.unit_columns : 1;
    if (t.rows != rows || t.columns != columns || t.axis != axis || cut != unit)
      fail(ExitCode::bad_data,
           "{}: tensor {} is [{}, {}] in units of {}; the config asks for [{}, {}] in units of {}; "
           "convert the model again",
           source_.path(), name, t.rows, t.columns, cut, rows, columns, unit);
    return t;
  }

  const TensorInfo& expect_floats(const std::string& name, int64_t rows, int64_t columns, UnitAxis axis, int64_t unit) {
    const TensorInfo& t = expect(name, rows, columns, axis, unit);
    if (t.format != WeightFormat{})
      fail(ExitCode::bad_data, "{}: tensor {} is {}; expected f32; convert the model again", source_.path(), name,
           format_name(t.format));
    return t;
  }

  // A library has no products of experts.
  Packing own_packing() const {
    Packing own = packing_;
    if (own.numerics == Numerics::fast) own.numerics = Numerics::standard;
    return own;
  }

  PackedView form_of(const TensorInfo& t, Packing packing) const {
    // Heads, or groups of 16, allow units that end inside a packed group. By the unit alone, so that all layouts agree.
    const bool cut = t.axis == UnitAxis::columns && t.unit_columns % kGroupColumns != 0;
    if (cut && t.format.e4m3) return packed_form(t.format, packing.numerics);
    return packed_form(t.format, cut && t.format.quantized() ? Numerics::exact : packing);
  }

  // Sources side by side, neighbours of one form as one part: what each part holds.
  std::vector<std::vector<Source>> divide(const std::vector<Source>& sources, Packing packing, Projection& p) const {
    std::vector<std::vector<Source>> held;
    for (Source s : sources) {
      PackedView w = form_of(*s.tensor, packing);
      w.k = s.tensor->columns;
      if (p.parts.empty() || !p.parts.back().w.same_form(w)) {
        p.parts.push_back({w, p.outputs});
        held.emplace_back();
      }
      s.first_row = p.parts.back().w.n;
      held.back().push_back(s);
      p.parts.back().w.n += rows_held(s);
      p.outputs += rows_held(s);
    }
    return held;
  }

  static int64_t rows_held(const Source& s) {
    const TensorInfo& t = *s.tensor;
    return std::min(s.units.end * t.unit_rows, t.rows) - std::min(s.units.begin * t.unit_rows, t.rows);
  }

  std::span<const float> floats(std::vector<Source> sources, int64_t size) {
    PackedView w{.n = size, .k = 1};
    place(w, std::move(sources));
    return {reinterpret_cast<const float*>(w.data), static_cast<size_t>(size)};
  }

  static int64_t room_of(const PackedView& w) { return (packed_bytes(w) + kAlignment - 1) / kAlignment * kAlignment; }

  // Gives as many matrices like w their memory, one behind the other; sources(i): of each. w becomes the first.
  template <typename F>
  void place_experts(PackedView& w, int experts, const F& sources) {
    w.to_next = room_of(w);
    std::byte* const first = memory_ ? memory_ + used_ : nullptr;
    for (int i = 0; i < experts; i++) place(w, sources(static_cast<size_t>(i)));
    w.data = first;
  }

  // Gives a matrix its memory.
  void place(PackedView& w, std::vector<Source> sources) {
    w.data = memory_ ? memory_ + used_ : nullptr;
    used_ += room_of(w);
    std::erase_if(sources, [](const Source& s) { return s.units.size() == 0; });
    if (!sources.empty()) matrices_.push_back({w, std::move(sources)});
  }

  const WeightSource& source_;
  Packing packing_;
  std::byte* memory_;
  int64_t used_ = 0;
  std::vector<WeightMatrix> matrices_;
};

// What the layers of a stage are made from.
struct Share {
  const ModelConfig& c;
  const UnitTable& units;
  RankShare held;
  UnitRange kv_heads{held.first_kv_head, held.first_kv_head + held.num_kv_heads};
  int64_t q_rows = int64_t{c.num_heads} * c.head_dim, kv_rows = int64_t{c.num_kv_heads} * c.head_dim;
  int64_t head_columns = units.heads_per_unit * c.head_dim;
};

void lay_out_attention(LayerWeights& w, Layout& layout, const Share& s, const std::string& at) {
  const ModelConfig& c = s.c;
  auto name = [&at](const char* which) { return at + "attention." + which; };
  w.qkv = layout.projection({layout.rows(name("q"), s.q_rows, c.hidden_size, s.head_columns, s.held.attention),
                             layout.rows(name("k"), s.kv_rows, c.hidden_size, c.head_dim, s.kv_heads),
                             layout.rows(name("v"), s.kv_rows, c.hidden_size, c.head_dim, s.kv_heads)});
  if (c.qkv_bias)
    w.qkv_bias = layout.joined({layout.vector_rows(name("q_bias"), s.q_rows, s.head_columns, s.held.attention),
                                layout.vector_rows(name("k_bias"), s.kv_rows, c.head_dim, s.kv_heads),
                                layout.vector_rows(name("v_bias"), s.kv_rows, c.head_dim, s.kv_heads)});
  if (c.qk_norm == QkNorm::head) {
    w.q_norm = layout.vector(name("q_norm"), c.head_dim);
    w.k_norm = layout.vector(name("k_norm"), c.head_dim);
  } else if (c.qk_norm == QkNorm::row) {
    w.q_norm = layout.joined({layout.vector_rows(name("q_norm"), s.q_rows, s.head_columns, s.held.attention)});
    w.k_norm = layout.joined({layout.vector_rows(name("k_norm"), s.kv_rows, c.head_dim, s.kv_heads)});
  }
  w.o = layout.columns(name("o"), c.hidden_size, s.q_rows, s.head_columns, s.held.attention);
  if (c.o_bias) w.o_bias = layout.vector(name("o_bias"), c.hidden_size);
}

void lay_out_mlp(LayerWeights& w, Layout& layout, const Share& s, const std::string& at) {
  const ModelConfig& c = s.c;
  const int64_t columns = c.mlp_columns(), unit = s.units.columns_per_unit;
  const std::vector gate_up{layout.rows(at + "mlp.gate", columns, c.hidden_size, unit, s.held.mlp),
                            layout.rows(at + "mlp.up", columns, c.hidden_size, unit, s.held.mlp)};
  if (c.num_experts > 0) {
    w.router = layout.whole(at + "mlp.router", c.num_experts, c.hidden_size);
    w.gate_up = layout.projections(gate_up);
    w.down = layout.columns_of_each(at + "mlp.down", c.hidden_size, columns, unit, s.held.mlp);
    return;
  }
  w.gate_up = layout.projection(gate_up);
  if (c.mlp_bias)
    w.gate_up_bias = layout.joined({layout.vector_rows(at + "mlp.gate_bias", columns, unit, s.held.mlp),
                                    layout.vector_rows(at + "mlp.up_bias", columns, unit, s.held.mlp)});
  w.down = layout.columns(at + "mlp.down", c.hidden_size, columns, unit, s.held.mlp);
  if (c.mlp_bias) w.down_bias = layout.vector(at + "mlp.down_bias", c.hidden_size);
}

// Everything one rank holds.
void lay_out(StageWeights& w, Layout& layout, const ModelConfig& c, const UnitTable& units, const StagePlace& place) {
  const Share share{c, units, RankShare::of(c, units, place.tp, place.tp_rank)};
  const bool tied_here = place.last && c.tie_word_embeddings;
  auto vocabulary = [&](const char* name) {
    return layout.projection({layout.rows(name, c.vocab_size, c.hidden_size, units.rows_per_unit, share.held.vocab)})
        .parts[0]
        .w;
  };
  w.layers.clear();
  if (place.first || tied_here) w.embedding = vocabulary("embedding");
  for (int i = place.first_layer; i < place.end_layer; i++) {
    const std::string at = "layers." + std::to_string(i) + ".";
    LayerWeights layer;
    if (c.pre_norm) layer.attention_norm = layout.vector(at + "attention_norm", c.hidden_size);
    lay_out_attention(layer, layout, share, at);
    if (c.post_norm) layer.post_attention_norm = layout.vector(at + "post_attention_norm", c.hidden_size);
    if (c.pre_norm) layer.mlp_norm = layout.vector(at + "mlp_norm", c.hidden_size);
    lay_out_mlp(layer, layout, share, at);
    if (c.post_norm) layer.post_mlp_norm = layout.vector(at + "post_mlp_norm", c.hidden_size);
    w.layers.push_back(std::move(layer));
  }
  if (place.last) {
    w.final_norm = layout.vector("final_norm", c.hidden_size);
    w.head = tied_here ? w.embedding : vocabulary("head");
  }
}

}  // namespace

StageWeights::StageWeights(const WeightSource& source, const ModelConfig& config, const UnitTable& units,
                           const StagePlace& place, Packing packing, Device& device) {
  Layout size(source, packing, nullptr);
  lay_out(*this, size, config, units, place);
  memory_ = device.allocate(static_cast<size_t>(size.bytes()), "the weights");
  Layout layout(source, packing, memory_.data());
  lay_out(*this, layout, config, units, place);
  load_weights(source, std::move(layout.matrices()), device);
}

int64_t StageWeights::packed_bytes_of(const WeightSource& source, const ModelConfig& config, const UnitTable& units,
                                      const StagePlace& place, Packing packing) {
  StageWeights unused;
  Layout size(source, packing, nullptr);
  lay_out(unused, size, config, units, place);
  return size.bytes();
}

int row_parallel_group(const WeightSource& source) {
  int group = 1;
  for (const TensorInfo& t : source.tensors())
    if (t.axis == UnitAxis::columns) group = std::lcm(group, t.format.unit_group());
  return group;
}

}  // namespace trireme
