#include "model/stage.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace trireme {

namespace {

std::vector<UnitRange> ranges(int units, int tp) {
  std::vector<UnitRange> held;
  for (int r = 0; r < tp; r++) held.push_back(units_of(units, tp, r));
  return held;
}

int64_t widest_row_bytes(const ModelConfig& c, const RankShare& share) {
  int64_t widest = 0;
  for (int64_t columns : {c.hidden_size, int64_t{share.num_heads} * c.head_dim, share.intermediate})
    for (ActivationForm form : {ActivationForm::bf16, ActivationForm::int8})
      widest = std::max(widest, activation_row_bytes(form, columns));
  return widest;
}

}  // namespace

Stage::Stage(const ModelConfig& config, const UnitTable& units, const StagePlace& place, const StageWeights& weights,
             const KvCache& cache, const Rope& rope, Collective& group, Device& device, const Kernels& kernels,
             const StepLimits& limits)
    : config_(config),
      place_(place),
      weights_(weights),
      cache_(cache),
      rope_(rope.table()),
      group_(group),
      device_(device),
      kernels_(kernels),
      share_(RankShare::of(config, units, place.tp, place.tp_rank)),
      over_hidden_(contraction(config.hidden_size, units.hidden_unit_columns)),
      over_heads_(contraction(int64_t{config.num_heads} * config.head_dim, units.heads_per_unit * config.head_dim,
                              share_.attention)),
      over_intermediate_(contraction(config.intermediate_size, units.columns_per_unit, share_.mlp)),
      reduce_heads_(group, device, kernels, units.attention_units, ranges(units.attention_units, place.tp),
                    config.hidden_size, limits.rows),
      reduce_intermediate_(group, device, kernels, units.mlp_units, ranges(units.mlp_units, place.tp),
                           config.hidden_size, limits.rows) {
  for (int r = 0; r < place.tp; r++) shares_.push_back(RankShare::of(config, units, place.tp, r));
  for (int h = 0; h < share_.num_heads; h++)
    kv_head_of_.push_back((share_.first_head + h) / config.group_size() - share_.first_kv_head);
  owned_tokens_.resize(static_cast<size_t>(limits.rows));
  to_.resize(static_cast<size_t>(place.tp));
  from_.resize(static_cast<size_t>(place.tp));

  const int64_t hidden = config.hidden_size, heads = int64_t{share_.num_heads} * config.head_dim;
  const int64_t kv = int64_t{share_.num_kv_heads} * config.head_dim;
  const int64_t floats_a_row = hidden + (heads + 2 * kv) + heads + 2 * share_.intermediate + share_.intermediate;
  const int64_t row_bytes = widest_row_bytes(config, share_);
  memory_ =
      device.allocate(static_cast<size_t>(limits.rows * (floats_a_row * 4 + row_bytes) + 64), "a step's activations");
  float* next = memory_.as<float>();
  auto take = [&](int64_t columns) { return std::exchange(next, next + limits.rows * columns); };
  encoded_ = reinterpret_cast<std::byte*>(next);
  next += limits.rows * row_bytes / 4;
  normed_ = take(hidden);
  qkv_ = take(heads + 2 * kv);
  attended_ = take(heads);
  gate_up_ = take(2 * share_.intermediate);
  activated_ = take(share_.intermediate);
}

size_t Stage::window_bytes(const ModelConfig& config, const UnitTable& units, int tp, const StepLimits& limits) {
  size_t bytes = static_cast<size_t>(limits.rows * config.hidden_size) * sizeof(float);  // embedding rows
  for (int count : {units.attention_units, units.mlp_units})
    bytes = std::max(bytes, TreeReduce::window_bytes(count, ranges(count, tp), config.hidden_size, limits.rows));
  return bytes;
}

void Stage::forward(const StepBatch& batch, MatrixView<float> x) {
  const int64_t rows = x.rows, head_dim = config_.head_dim;
  const int64_t heads = share_.num_heads * head_dim, kv = share_.num_kv_heads * head_dim, columns = share_.intermediate;
  MatrixView<float> normed(normed_, rows, config_.hidden_size);
  MatrixView<float> qkv(qkv_, rows, heads + 2 * kv);
  MatrixView<float> q(qkv_, rows, heads, qkv.stride), k(qkv_ + heads, rows, kv, qkv.stride),
      v(qkv_ + heads + kv, rows, kv, qkv.stride);
  MatrixView<float> attended(attended_, rows, heads);
  MatrixView<float> gate_up(gate_up_, rows, 2 * columns);
  MatrixView<float> gate(gate_up_, rows, columns, 2 * columns), up(gate_up_ + columns, rows, columns, 2 * columns);
  MatrixView<float> activated(activated_, rows, columns);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));

  if (place_.first) embed(batch, x);
  for (size_t i = 0; i < weights_.layers.size(); i++) {
    const LayerWeights& layer = weights_.layers[i];
    const KvPages pages = cache_.pages(static_cast<int>(i));

    norm(x, layer.attention_norm, normed);
    project(normed, layer.qkv, qkv);
    device_.launch(kernels_.rope_append, RopeAppend{q, k, v, batch.positions, batch.slots, rope_, pages});
    device_.launch(kernels_.attention, Attention{q, batch.spans, kv_head_of_, scale, 0, 0, pages, attended});
    product(attended, layer.o, over_heads_, reduce_heads_.roots(), config_.hidden_size,
            reduce_heads_.root_stride(rows));
    reduce_heads_.add_to(x);

    norm(x, layer.mlp_norm, normed);
    project(normed, layer.gate_up, gate_up);
    device_.launch(kernels_.gated_mul, GatedMul{Activation::silu, gate, up, activated});
    product(activated, layer.down, over_intermediate_, reduce_intermediate_.roots(), config_.hidden_size,
            reduce_intermediate_.root_stride(rows));
    reduce_intermediate_.add_to(x);
  }
}

void Stage::head(MatrixView<const float> x, std::span<const int32_t> rows, MatrixView<float> logits) {
  MatrixView<float> wanted(normed_, static_cast<int64_t>(rows.size()), config_.hidden_size);
  for (size_t i = 0; i < rows.size(); i++)
    device_.copy(wanted.row(static_cast<int64_t>(i)), x.row(rows[i]), static_cast<size_t>(x.columns) * sizeof(float));
  norm(wanted, weights_.final_norm, wanted);
  if (weights_.head.n > 0) product(wanted, weights_.head, over_hidden_, logits.data, logits.stride, 0);
}

// Every rank looks up the tokens of its own vocabulary rows; the group shows them to each other.
void Stage::embed(const StepBatch& batch, MatrixView<float> x) {
  auto owner = [this](int32_t token) {
    for (int r = 0;; r++)
      if (token < shares_[static_cast<size_t>(r)].first_token + shares_[static_cast<size_t>(r)].num_tokens) return r;
  };
  const size_t row_bytes = static_cast<size_t>(x.columns) * sizeof(float);
  std::fill(from_.begin(), from_.end(), Collective::Piece{});
  size_t owned = 0;
  for (int32_t token : batch.tokens) {
    int r = owner(token);
    from_[static_cast<size_t>(r)].bytes += row_bytes;
    if (r == place_.tp_rank) owned_tokens_[owned++] = token;
  }
  std::fill(to_.begin(), to_.end(), Collective::Piece{0, owned * row_bytes, 0, 1});
  device_.launch(kernels_.embed, Embed{std::span<const int32_t>(owned_tokens_).first(owned),
                                       static_cast<int32_t>(share_.first_token), weights_.embedding,
                                       MatrixView<float>(reinterpret_cast<float*>(group_.window()),
                                                         static_cast<int64_t>(owned), x.columns)});
  group_.exchange(to_, from_);
  std::fill(from_.begin(), from_.end(), Collective::Piece{});  // .offset: rows taken so far
  for (size_t i = 0; i < batch.tokens.size(); i++) {
    int r = owner(batch.tokens[i]);
    size_t& offset = from_[static_cast<size_t>(r)].offset;
    device_.copy(x.row(static_cast<int64_t>(i)), group_.shown(r) + offset, row_bytes);
    offset += row_bytes;
  }
}

void Stage::norm(MatrixView<const float> x, std::span<const float> weight, MatrixView<float> out) {
  device_.launch(kernels_.rms_norm, RmsNorm{x, weight, static_cast<float>(config_.rms_norm_eps), out});
}

void Stage::project(MatrixView<const float> x, const Projection& projection, MatrixView<float> out) {
  for (const auto& part : projection.parts)
    product(x, part.w, over_hidden_, out.data + part.first_output, out.stride, 0);
}

void Stage::product(MatrixView<const float> x, const PackedView& w, const Contraction& contraction, float* y,
                    int64_t y_stride, int64_t root_stride) {
  const ActivationForm form = activation_form(w.form);
  Activations in{form, encoded_, x.rows, x.columns, activation_row_bytes(form, x.columns)};
  if (form == ActivationForm::f32) {
    in.data =
        reinterpret_cast<std::byte*>(const_cast<float*>(x.data));  // read only: the product takes all forms as bytes
    in.row_bytes = x.stride * static_cast<int64_t>(sizeof(float));
  } else {
    device_.launch(kernels_.encode, Encode{x, in});
  }
  device_.launch(kernels_.matmul, MatMul{in, w, &contraction, y, y_stride, root_stride});
}

}  // namespace trireme
