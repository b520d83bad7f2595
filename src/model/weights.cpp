#include "model/weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"

namespace trireme {

namespace {

constexpr int64_t kAlignment = 64;  // bytes, a cache line and a vector

bool same_form(const PackedView& a, const PackedView& b) {
  return a.form == b.form && a.has_minimum == b.has_minimum && a.zero == b.zero;
}

// Lays out a stage's weights and collects what to read for them. Runs twice over the same steps: first with no memory,
// to know its size, then for good.
class Layout {
 public:
  Layout(const Checkpoint& checkpoint, bool exact, std::byte* memory)
      : checkpoint_(checkpoint), exact_(exact), memory_(memory) {}

  int64_t bytes() const { return used_; }
  std::vector<Checkpoint::Request>& requests() { return requests_; }

  std::span<const float> vector(const std::string& name, int64_t size) {
    const TensorInfo& tensor = expect(name, 1, size, UnitAxis::none, 1);
    if (tensor.format != WeightFormat{})
      fail(ExitCode::bad_data, "{}: tensor {} is {}; expected f32; convert the model again", checkpoint_.path(), name,
           format_name(tensor.format));
    float* data = reinterpret_cast<float*>(take(size * 4));
    requests_.push_back({&tensor, {0, 1}, [data, size](auto, auto values, auto, auto) {
                           std::memcpy(data, values.data(), static_cast<size_t>(size) * sizeof(float));
                         }});
    return {data, static_cast<size_t>(size)};
  }

  struct Source {
    const TensorInfo* tensor;
    UnitRange units;
  };
  Source rows(const std::string& name, int64_t rows, int64_t columns, int64_t unit_rows, UnitRange units) {
    return {&expect(name, rows, columns, UnitAxis::rows, unit_rows), units};
  }

  // The units held of one or several row-cut matrices, each at its first output.
  Projection projection(std::initializer_list<Source> sources) {
    Projection p;
    std::vector<std::pair<const Source*, std::pair<size_t, int64_t>>> places;  // -> part and row inside it
    for (const Source& s : sources) {
      PackedView w = form_of(*s.tensor);
      w.k = s.tensor->columns;
      if (p.parts.empty() || !same_form(p.parts.back().w, w)) p.parts.push_back({w, p.outputs});
      places.push_back({&s, {p.parts.size() - 1, p.parts.back().w.n}});
      int64_t held = rows_held(s);
      p.parts.back().w.n += held;
      p.outputs += held;
    }
    for (auto& part : p.parts) part.w.data = take(packed_bytes(part.w));
    for (auto& [source, place] : places) request_rows(*source, p.parts[place.first].w, place.second);
    return p;
  }

  PackedView columns(const std::string& name, int64_t rows, int64_t columns, int64_t unit_columns, UnitRange units) {
    const TensorInfo& t = expect(name, rows, columns, UnitAxis::columns, unit_columns);
    PackedView w = form_of(t);
    w.n = rows;
    w.k = std::min(units.end * t.unit_columns, columns) - units.begin * t.unit_columns;
    w.data = take(packed_bytes(w));
    requests_.push_back({&t, units, [&t, w, units](UnitRange run, auto values, auto scales, auto minimums) {
                           for (int u = run.begin; u < run.end; u++) {
                             StoredBlock b = block(t, u - run.begin, values, scales, minimums);
                             b.columns = std::min(t.unit_columns, t.columns - u * t.unit_columns);
                             pack_block(b, w, 0, (u - units.begin) * t.unit_columns);
                           }
                         }});
    return w;
  }

 private:
  // unit: rows or columns of a unit, whichever the units cut.
  const TensorInfo& expect(const std::string& name, int64_t rows, int64_t columns, UnitAxis axis, int64_t unit) {
    const TensorInfo& t = checkpoint_.get_tensor(name);
    int64_t cut = axis == UnitAxis::rows ? t.unit_rows : axis == UnitAxis::columns ? t.unit_columns : 1;
    if (t.rows != rows || t.columns != columns || t.axis != axis || cut != unit)
      fail(ExitCode::bad_data,
           "{}: tensor {} is [{}, {}] in units of {}; the config asks for [{}, {}] in units of {}; "
           "convert the model again",
           checkpoint_.path(), name, t.rows, t.columns, cut, rows, columns, unit);
    return t;
  }

  PackedView form_of(const TensorInfo& t) const {
    return {packed_form(t.format, exact_), t.format.has_minimum, t.format.zero, 0, 0, nullptr};
  }

  static int64_t rows_held(const Source& s) {
    const TensorInfo& t = *s.tensor;
    return std::min(s.units.end * t.unit_rows, t.rows) - std::min(s.units.begin * t.unit_rows, t.rows);
  }

  void request_rows(const Source& s, PackedView w, int64_t first_row) {
    if (s.units.size() == 0) return;
    const TensorInfo& t = *s.tensor;
    UnitRange units = s.units;
    requests_.push_back({&t, units, [&t, w, units, first_row](UnitRange run, auto values, auto scales, auto minimums) {
                           for (int u = run.begin; u < run.end; u++) {
                             StoredBlock b = block(t, u - run.begin, values, scales, minimums);
                             b.rows = std::min(t.unit_rows, t.rows - u * t.unit_rows);
                             pack_block(b, w, first_row + (u - units.begin) * t.unit_rows, 0);
                           }
                         }});
  }

  static StoredBlock block(const TensorInfo& t, int index, std::span<const std::byte> values,
                           std::span<const std::byte> scales, std::span<const std::byte> minimums) {
    auto unit = [&](std::span<const std::byte> part, int which) {
      return part.empty() ? nullptr : part.data() + static_cast<size_t>(index) * t.parts[which].unit_bytes;
    };
    StoredBlock b{t.format,         t.unit_rows,     std::min(t.unit_columns, t.columns),
                  t.unit_columns,   unit(values, 0), unit(scales, 1),
                  unit(minimums, 2)};
    return b;
  }

  std::byte* take(int64_t bytes) {
    std::byte* place = memory_ ? memory_ + used_ : nullptr;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return place;
  }

  const Checkpoint& checkpoint_;
  bool exact_;
  std::byte* memory_;
  int64_t used_ = 0;
  std::vector<Checkpoint::Request> requests_;
};

// Everything one rank holds, in the checkpoint's order.
void lay_out(StageWeights& w, Layout& layout, const ModelConfig& c, const UnitTable& units, const StagePlace& place) {
  const RankShare share = RankShare::of(c, units, place.tp, place.tp_rank);
  const UnitRange kv_heads{share.first_kv_head, share.first_kv_head + share.num_kv_heads};
  const int64_t q_rows = int64_t{c.num_heads} * c.head_dim, kv_rows = int64_t{c.num_kv_heads} * c.head_dim;
  const int64_t head_columns = units.heads_per_unit * c.head_dim;
  const bool tied_here = place.last && c.tie_word_embeddings;
  auto vocabulary = [&](const char* name) {
    return layout.projection({layout.rows(name, c.vocab_size, c.hidden_size, units.rows_per_unit, share.vocab)})
        .parts[0]
        .w;
  };
  w.layers.clear();
  if (place.first || tied_here) w.embedding = vocabulary("embedding");
  for (int i = place.first_layer; i < place.end_layer; i++) {
    const std::string at = "layers." + std::to_string(i) + ".";
    LayerWeights layer;
    layer.attention_norm = layout.vector(at + "attention_norm", c.hidden_size);
    layer.qkv =
        layout.projection({layout.rows(at + "attention.q", q_rows, c.hidden_size, head_columns, share.attention),
                           layout.rows(at + "attention.k", kv_rows, c.hidden_size, c.head_dim, kv_heads),
                           layout.rows(at + "attention.v", kv_rows, c.hidden_size, c.head_dim, kv_heads)});
    layer.o = layout.columns(at + "attention.o", c.hidden_size, q_rows, head_columns, share.attention);
    layer.mlp_norm = layout.vector(at + "mlp_norm", c.hidden_size);
    layer.gate_up = layout.projection(
        {layout.rows(at + "mlp.gate", c.intermediate_size, c.hidden_size, units.columns_per_unit, share.mlp),
         layout.rows(at + "mlp.up", c.intermediate_size, c.hidden_size, units.columns_per_unit, share.mlp)});
    layer.down = layout.columns(at + "mlp.down", c.hidden_size, c.intermediate_size, units.columns_per_unit, share.mlp);
    w.layers.push_back(std::move(layer));
  }
  if (place.last) {
    w.final_norm = layout.vector("final_norm", c.hidden_size);
    w.head = tied_here ? w.embedding : vocabulary("head");
  }
}

}  // namespace

StageWeights::StageWeights(const Checkpoint& checkpoint, const ModelConfig& config, const UnitTable& units,
                           const StagePlace& place, bool exact, Device& device) {
  Layout size(checkpoint, exact, nullptr);
  lay_out(*this, size, config, units, place);
  memory_ = device.allocate(static_cast<size_t>(size.bytes()), "the weights");
  Layout layout(checkpoint, exact, memory_.data());
  lay_out(*this, layout, config, units, place);
  checkpoint.read(std::move(layout.requests()));
}

int64_t StageWeights::packed_bytes_of(const Checkpoint& checkpoint, const ModelConfig& config, const UnitTable& units,
                                      const StagePlace& place, bool exact) {
  StageWeights unused;
  Layout size(checkpoint, exact, nullptr);
  lay_out(unused, size, config, units, place);
  return size.bytes();
}

int row_parallel_group(const Checkpoint& checkpoint) {
  int group = 1;
  for (const TensorInfo& t : checkpoint.tensors())
    if (t.axis == UnitAxis::columns) group = std::lcm(group, t.format.quantized() ? t.format.group : 1);
  return group;
}

}  // namespace trireme
