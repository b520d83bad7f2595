#include "model/stage.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace trireme {

namespace {

constexpr size_t kScratchAlignment = 16;  // bytes: rows in any form may stand in any buffer
int64_t aligned_floats(int64_t floats) { return (floats + 3) / 4 * 4; }

constexpr int32_t kNoToken = -1;  // nobody's: leaves its row alone

const PackedView& first_of(const Projection& projection) { return projection.parts.front().w; }
// What an operation beside its FP32 rows encodes.
Activations to_encode(const Activations& in) { return in.form == ActivationForm::f32 ? Activations{} : in; }

std::vector<UnitRange> ranges(int units, int tp) {
  std::vector<UnitRange> held;
  for (int r = 0; r < tp; r++) held.push_back(units_of(units, tp, r));
  return held;
}

int64_t squares_of_row(const ModelConfig& c) { return c.qk_norm == QkNorm::row ? c.num_heads + c.num_kv_heads : 0; }

int64_t mlp_columns_of(const ModelConfig& c, const RankShare& share) {
  return c.num_experts > 0 ? c.intermediate_size : share.intermediate;
}

// The contraction of `down`: the units held, or the inside of one expert.
Contraction over_intermediate(const ModelConfig& c, const UnitTable& units, const RankShare& share) {
  return c.num_experts > 0 ? contraction(c.intermediate_size, units.chain_columns)
                           : contraction(c.intermediate_size, units.columns_per_unit, share.mlp);
}

// [heads held] of each head, by the KV heads held.
Buffer upload_kv_heads(const ModelConfig& c, const RankShare& share, Device& device) {
  Buffer heads(static_cast<size_t>(share.num_heads) * sizeof(int32_t), "KV heads");
  for (int h = 0; h < share.num_heads; h++)
    heads.as<int32_t>()[h] = (share.first_head + h) / c.group_size() - share.first_kv_head;
  return device.upload(std::move(heads), "KV heads");
}

TreeProgram over_units(int units, UnitRange held) {
  std::vector<UnitRange> single;
  for (int u = held.begin; u < held.end; u++) single.push_back({u, u + 1});
  return tree_program(units, single);
}

}  // namespace

Stage::Stage(const ModelConfig& config, const UnitTable& units, const StagePlace& place, const StageWeights& weights,
             const KvCache& cache, std::span<const Rope> ropes, Collective& group, Device& device,
             const Kernels& kernels, const StepLimits& limits)
    : config_(config),
      place_(place),
      weights_(weights),
      cache_(cache),
      group_(group),
      device_(device),
      kernels_(kernels),
      share_(RankShare::of(config, units, place.tp, place.tp_rank)),
      attention_scale_(config.attention_scale > 0 ? static_cast<float>(config.attention_scale)
                                                  : 1.0f / std::sqrt(static_cast<float>(config.head_dim))),
      mlp_columns_(mlp_columns_of(config, share_)),
      over_hidden_(contraction(config.hidden_size, units.hidden_unit_columns)),
      over_heads_(contraction(int64_t{config.num_heads} * config.head_dim, units.heads_per_unit * config.head_dim,
                              share_.attention)),
      over_intermediate_(over_intermediate(config, units, share_)),
      reduce_attention_(group, device, kernels, units.attention_units, ranges(units.attention_units, place.tp),
                        config.hidden_size, limits.rows),
      reduce_mlp_(group, device, kernels, units.mlp_units, ranges(units.mlp_units, place.tp), config.hidden_size,
                  limits.rows),
      kv_head_of_(upload_kv_heads(config, share_, device)),
      owned_tokens_(device, static_cast<size_t>(limits.rows), "tokens"),
      token_places_(device, static_cast<size_t>(limits.rows), "places of tokens"),
      shown_(device, static_cast<size_t>(place.tp), "windows"),
      head_rows_(device, static_cast<size_t>(limits.logit_rows), "rows of logits"),
      tokens_of_(static_cast<size_t>(place.tp)) {
  for (int r = 0; r < place.tp; r++) shares_.push_back(RankShare::of(config, units, place.tp, r));
  for (int i = place.first_layer; i < place.end_layer; i++) {
    const int rope = config.layer_ropes[static_cast<size_t>(i)];
    layers_.push_back({rope < 0 ? RopeTable{} : ropes[static_cast<size_t>(rope)].table(),
                       static_cast<int32_t>(config.layer_windows[static_cast<size_t>(i)])});
  }
  to_.resize(static_cast<size_t>(place.tp));
  from_.resize(static_cast<size_t>(place.tp));
  take_scratch(limits, units);
}

Stage::ScratchRow Stage::scratch_row(const ModelConfig& c, const RankShare& share) {
  const int64_t heads = int64_t{share.num_heads} * c.head_dim, kv = int64_t{share.num_kv_heads} * c.head_dim;
  const int64_t hidden = c.hidden_size, mlp = mlp_columns_of(c, share);
  const int64_t places = c.num_experts > 0 ? ExpertPlaces::of_row(c.experts_per_token, share.mlp) : 0;
  const int64_t gates = c.num_experts > 0 ? places : 1;  // rows of an MLP
  ScratchRow row{{{{&Stage::normed_, hidden},
                   {&Stage::qkv_, heads + 2 * kv},
                   {&Stage::attended_, heads},
                   {&Stage::gate_up_, gates * 2 * mlp},
                   {&Stage::activated_, gates * mlp},
                   {&Stage::squares_, squares_of_row(c)},
                   {&Stage::router_, c.num_experts},
                   {&Stage::mixed_, places * hidden}}}};
  for (ActivationForm form : {ActivationForm::bf16, ActivationForm::int8})
    row.encoded_bytes =
        std::max({row.encoded_bytes, activation_row_bytes(form, heads), gates * activation_row_bytes(form, mlp),
                  std::max(int64_t{1}, places) * activation_row_bytes(form, hidden)});
  return row;
}

int64_t Stage::ScratchRow::bytes() const {
  int64_t sum = encoded_bytes;
  for (const auto& [buffer, floats] : buffers) sum += floats * int64_t{sizeof(float)};
  return sum;
}

void Stage::take_scratch(const StepLimits& limits, const UnitTable& units) {
  const ScratchRow row = scratch_row(config_, share_);
  memory_ = device_.allocate(static_cast<size_t>(limits.rows * row.bytes()) + kScratchAlignment * row.buffers.size(),
                             "a step's activations");
  encoded_ = memory_.data();
  float* next = reinterpret_cast<float*>(encoded_ + limits.rows * row.encoded_bytes);
  for (const auto& [buffer, floats] : row.buffers)
    this->*buffer = std::exchange(next, next + aligned_floats(limits.rows * floats));
  if (config_.num_experts == 0) return;
  over_experts_ = over_units(units.mlp_units, share_.mlp);
  expert_places_ = {device_, limits.rows, config_.experts_per_token, share_.mlp};
}

int64_t Stage::scratch_bytes(const ModelConfig& config, const UnitTable& units, const StagePlace& place,
                             const StepLimits& limits) {
  const RankShare share = RankShare::of(config, units, place.tp, place.tp_rank);
  int64_t bytes = limits.rows * scratch_row(config, share).bytes();
  if (config.num_experts > 0) bytes += ExpertPlaces::bytes(limits.rows, config.experts_per_token, share.mlp);
  if (place.tp > 1) return bytes;  // the group has windows
  for (int count : {units.attention_units, units.mlp_units})
    bytes += static_cast<int64_t>(TreeReduce::window_bytes(count, ranges(count, 1), config.hidden_size, limits.rows));
  return bytes;
}

size_t Stage::window_bytes(const ModelConfig& config, const UnitTable& units, int tp, const StepLimits& limits) {
  if (tp == 1) return 0;
  // Embedding rows, and sums of squares of heads.
  size_t bytes =
      static_cast<size_t>(limits.rows * std::max(config.hidden_size, squares_of_row(config))) * sizeof(float);
  for (int count : {units.attention_units, units.mlp_units})
    bytes = std::max(bytes, TreeReduce::window_bytes(count, ranges(count, tp), config.hidden_size, limits.rows));
  return bytes;
}

void Stage::prepare(std::span<const int32_t> tokens) {
  if (place_.first && place_.tp > 1) share_tokens(tokens);
}

void Stage::forward(const StepBatch& batch, MatrixView<float> x) {
  if (place_.first) embed(batch, x);
  Input in = normed(x, attention_of(0));
  for (size_t i = 0; i < weights_.layers.size(); i++) {
    const LayerWeights& layer = weights_.layers[i];

    attend(in, layer, layers_[i], cache_.pages(static_cast<int>(i)), batch);
    in = reduce_add_norm(reduce_attention_, layer.o_bias, layer.post_attention_norm, x, mlp_of(layer));

    config_.num_experts > 0 ? mix_experts(in, layer) : mlp(in, layer);
    in = reduce_add_norm(reduce_mlp_, layer.down_bias, layer.post_mlp_norm, x, attention_of(i + 1));
  }
  group_.even_out();
}

// Leaves this rank's roots of o.
void Stage::attend(const Input& in, const LayerWeights& layer, const LayerPlan& plan, const KvPages& pages,
                   const StepBatch& batch) {
  const int64_t rows = in.x.rows, heads = share_.num_heads * int64_t{config_.head_dim},
                kv = share_.num_kv_heads * int64_t{config_.head_dim};
  MatrixView<float> qkv(qkv_, rows, heads + 2 * kv);
  MatrixView<float> q(qkv_, rows, heads, qkv.stride), k(qkv_ + heads, rows, kv, qkv.stride),
      v(qkv_ + heads + kv, rows, kv, qkv.stride);
  MatrixView<float> attended(attended_, rows, heads);

  column_parallel(in, layer.qkv, layer.qkv_bias, qkv);
  if (config_.qk_norm == QkNorm::head) normalize_heads(q, k, layer);
  if (config_.qk_norm == QkNorm::row) normalize_rows(q, k, layer);
  device_.launch(kernels_.rope_append, RopeAppend{q, k, v, batch.angles, batch.slots, plan.rope, pages});
  const Activations o_input = activations_for(attended, layer.o);
  const bool encodes = config_.head_dim % kInputGroup == 0;  // no group of an encoding is two heads'
  device_.launch(kernels_.attention, Attention{q, batch.spans, kv_head_of_.span<int32_t>(), attention_scale_,
                                               static_cast<float>(config_.attention_softcap), plan.window, pages,
                                               attended, encodes ? to_encode(o_input) : Activations{},
                                               kernels_.bf16_attention && takes_bf16_products(pages)});
  row_parallel(encodes ? o_input : encoded(attended, layer.o), layer.o, over_heads_, reduce_attention_);
}

// Leaves this rank's roots of down.
void Stage::mlp(const Input& in, const LayerWeights& layer) {
  row_parallel(gated(in, layer.gate_up, layer.gate_up_bias, layer.down), layer.down, over_intermediate_, reduce_mlp_);
}

// x += residual_multiplier * norm(the sum of all ranks' roots + bias), of which most families have the sum alone; then
// the input of the next sublayer.
Stage::Input Stage::reduce_add_norm(TreeReduce& reduce, std::span<const float> bias, std::span<const float> post_norm,
                                    MatrixView<float> x, const Sublayer& next) {
  const auto multiplier = static_cast<float>(config_.residual_multiplier);
  if (bias.empty() && post_norm.empty() && multiplier == 1) {
    if (next.norm.empty()) return reduce.add_to(x), normed(x, next);
    const RmsNorm norm = norm_into(x, next);
    return reduce.add_to(x, norm), input_of(norm, next);
  }
  MatrixView<float> sum(normed_, x.rows, x.columns);
  reduce.write_to(sum);
  if (!bias.empty()) device_.launch(kernels_.add_bias, AddBias{sum, bias});
  if (!post_norm.empty()) norm(sum, post_norm, sum);
  device_.launch(kernels_.add_scaled, AddScaled{x, sum, multiplier});
  return normed(x, next);
}

Stage::Sublayer Stage::attention_of(size_t layer) const {
  if (layer == weights_.layers.size()) return {};
  return {weights_.layers[layer].attention_norm, &first_of(weights_.layers[layer].qkv)};
}

Stage::Sublayer Stage::mlp_of(const LayerWeights& layer) const {
  return {layer.mlp_norm, config_.num_experts > 0 ? &layer.router : &first_of(layer.gate_up)};
}

void Stage::normalize_heads(MatrixView<float> q, MatrixView<float> k, const LayerWeights& layer) {
  norm(q, layer.q_norm, q);
  norm(k, layer.k_norm, k);
}

void Stage::head(MatrixView<const float> x, std::span<const int32_t> rows, MatrixView<float> logits) {
  MatrixView<float> wanted(normed_, static_cast<int64_t>(rows.size()), config_.hidden_size);
  head_rows_.clear();
  for (int32_t row : rows) head_rows_.push_back(row);
  device_.launch(kernels_.take_rows, TakeRows{x, head_rows_, wanted});
  norm(wanted, weights_.final_norm, wanted);
  if (weights_.head.n == 0) return;
  product(encoded(wanted, weights_.head), weights_.head, over_hidden_, logits.data, logits.stride, 0);
  if (config_.logits_scaling != 1 || config_.final_softcap != 0)
    device_.launch(kernels_.scale, Scale{logits, static_cast<float>(1 / config_.logits_scaling),
                                         static_cast<float>(config_.final_softcap)});
}

void Stage::embed(const StepBatch& batch, MatrixView<float> x) {
  shares_.size() == 1 ? look_up(batch.tokens, x) : embed_together(x);
  if (config_.embedding_multiplier != 1)
    device_.launch(kernels_.scale, Scale{x, static_cast<float>(config_.embedding_multiplier)});
}

// Which tokens this rank looks up, and where the group will show those of the step: a rank's own in their order.
void Stage::share_tokens(std::span<const int32_t> tokens) {
  owned_tokens_.clear();
  token_places_.clear();
  std::fill(tokens_of_.begin(), tokens_of_.end(), 0);
  for (int32_t token : tokens) {
    int r = 0;
    while (token >= shares_[static_cast<size_t>(r)].first_token + shares_[static_cast<size_t>(r)].num_tokens) r++;
    token_places_.push_back({r, tokens_of_[static_cast<size_t>(r)]++});
    if (r == place_.tp_rank) owned_tokens_.push_back(token);
  }
  while (owned_tokens_.size() < tokens.size()) owned_tokens_.push_back(kNoToken);
}

// Every rank looks up the tokens of its own vocabulary rows; the group shows them to each other.
void Stage::embed_together(MatrixView<float> x) {
  const auto rows_of = [&](size_t r) {
    return Collective::Piece{0, static_cast<size_t>(tokens_of_[r] * x.columns) * sizeof(float), 0, 1};
  };
  for (size_t r = 0; r < shares_.size(); r++) {
    to_[r] = rows_of(static_cast<size_t>(place_.tp_rank));
    from_[r] = rows_of(r);
  }
  look_up(owned_tokens_, {reinterpret_cast<float*>(group_.window()), x.rows, x.columns});
  group_.exchange(to_, from_);
  shown_.clear();
  for (int r = 0; r < place_.tp; r++) shown_.push_back(reinterpret_cast<const float*>(group_.shown(r)));
  device_.launch(kernels_.gather_rows, GatherRows{shown_, x.columns, token_places_, x});
}

void Stage::look_up(std::span<const int32_t> tokens, MatrixView<float> out) {
  device_.launch(kernels_.embed, Embed{tokens, static_cast<int32_t>(share_.first_token), weights_.embedding, out});
}

void Stage::norm(MatrixView<const float> x, std::span<const float> weight, MatrixView<float> out) {
  device_.launch(kernels_.rms_norm, RmsNorm{x, weight, static_cast<float>(config_.rms_norm_eps), out});
}

// x itself in families without a norm here; nothing past the last layer.
Stage::Input Stage::normed(MatrixView<const float> x, const Sublayer& sublayer) {
  if (!sublayer.w) return {};
  if (sublayer.norm.empty()) return {x, encoded(x, *sublayer.w)};
  const RmsNorm norm = norm_into(x, sublayer);
  device_.launch(kernels_.rms_norm, norm);
  return input_of(norm, sublayer);
}

RmsNorm Stage::norm_into(MatrixView<const float> x, const Sublayer& sublayer) const {
  const MatrixView<float> out(normed_, x.rows, x.columns);
  return {x, sublayer.norm, static_cast<float>(config_.rms_norm_eps), out,
          to_encode(activations_for(out, *sublayer.w))};
}

Stage::Input Stage::input_of(const RmsNorm& norm, const Sublayer& sublayer) const {
  return {norm.out, activations_for(norm.out, *sublayer.w)};
}

// activation(gate) * up, as products with `down` take it: in one operation where both are one matrix and its panels let
// them.
Activations Stage::gated(const Input& in, const Projection& gate_up, std::span<const float> bias,
                         const PackedView& down) {
  const int64_t rows = in.x.rows, columns = mlp_columns_;
  const MatrixView<float> out(activated_, rows, columns);
  const PackedView& w = first_of(gate_up);
  if (gate_up.parts.size() == 1 && can_gate(w, device_.team())) {
    // Not to where the product's inputs are: blocks that are done leave theirs while others read.
    Activations next = activations_for(out, down);
    next.data = reinterpret_cast<std::byte*>(activated_);
    device_.launch(kernels_.gated_matmul,
                   GatedMatMul{{in.encoded, w, &over_hidden_, gate_up_, 2 * columns, 0, bias, experts_of(w, rows)},
                               config_.activation,
                               out,
                               to_encode(next)});
    return next;
  }
  const MatrixView<float> both(gate_up_, rows, 2 * columns);
  const MatrixView<const float> gate(gate_up_, rows, columns, both.stride),
      up(gate_up_ + columns, rows, columns, both.stride);
  column_parallel(in, gate_up, bias, both);
  const Activations next = activations_for(out, down);
  device_.launch(kernels_.gated_mul, GatedMul{config_.activation, gate, up, out, to_encode(next)});
  return next;
}

Activations Stage::encoded(MatrixView<const float> x, const PackedView& w) {
  const Activations in = activations_for(x, w);
  if (in.form != ActivationForm::f32) device_.launch(kernels_.encode, Encode{x, in});
  return in;
}

// Where x stands in the form that products with w take: in place, or to be encoded.
Activations Stage::activations_for(MatrixView<const float> x, const PackedView& w) const {
  const ActivationForm form = activation_form(w.form);
  if (form != ActivationForm::f32) return {form, encoded_, x.rows, x.columns, activation_row_bytes(form, x.columns)};
  auto* data = reinterpret_cast<std::byte*>(const_cast<float*>(x.data));  // read only: products take all as bytes
  return {form, data, x.rows, x.columns, x.stride * static_cast<int64_t>(sizeof(float))};
}

void Stage::column_parallel(Input in, const Projection& projection, std::span<const float> bias,
                            MatrixView<float> out) {
  for (const auto& part : projection.parts) {
    if (activation_form(part.w.form) != in.encoded.form) in.encoded = encoded(in.x, part.w);
    const auto first = static_cast<size_t>(part.first_output), n = static_cast<size_t>(part.w.n);
    device_.launch(kernels_.matmul,
                   MatMul{in.encoded, part.w, &over_hidden_, out.data + first, out.stride, 0,
                          bias.empty() ? bias : bias.subspan(first, n), experts_of(part.w, in.x.rows)});
  }
}

// Leaves this rank's roots where the group sums them.
void Stage::row_parallel(const Activations& in, const PackedView& w, const Contraction& contraction,
                         TreeReduce& reduce) {
  product(in, w, contraction, reduce.roots(), config_.hidden_size, reduce.root_stride(in.rows));
}

void Stage::product(const Activations& in, const PackedView& w, const Contraction& contraction, float* y,
                    int64_t y_stride, int64_t root_stride) {
  device_.launch(kernels_.matmul, MatMul{in, w, &contraction, y, y_stride, root_stride, {}, experts_of(w, in.rows)});
}

}  // namespace trireme
