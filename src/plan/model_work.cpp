#include "plan/model_work.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "base/must.h"
#include "model/synthetic_weights.h"
#include "model/tensor_table.h"

namespace trireme {

namespace {

WeightChoice choice_of(Precision precision) {
  switch (precision) {
    case Precision::bf16:
      return WeightChoice::bf16;
    case Precision::fp8:
      return WeightChoice::fp8;
    case Precision::int8:
      return WeightChoice::int8;
    case Precision::fp4:
    case Precision::int4:
      return WeightChoice::int4;
  }
  return WeightChoice::bf16;
}

// What most bytes of a checkpoint's layers are.
Precision precision_of(const WeightSource& source) {
  double bytes[kPrecisions] = {};
  for (const TensorInfo& t : source.tensors()) {
    const WeightFormat& f = t.format;
    const Precision p = f.e4m3        ? Precision::fp8
                        : f.bits == 8 ? Precision::int8
                        : f.bits == 4 ? Precision::int4
                                      : Precision::bf16;
    bytes[static_cast<size_t>(p)] += static_cast<double>(t.rows) * static_cast<double>(t.columns);
  }
  return static_cast<Precision>(std::max_element(std::begin(bytes), std::end(bytes)) - std::begin(bytes));
}

double of(int64_t rows, int64_t columns) { return static_cast<double>(rows) * static_cast<double>(columns); }

}  // namespace

ModelWork::ModelWork(std::string name, const ModelConfig& config, Precision precision, double kv_bytes,
                     const EngineProfile& profile, double shared_columns, bool chunked)
    : name_(std::move(name)),
      config_(config),
      precision_(precision),
      kv_bytes_(kv_bytes),
      shared_columns_(shared_columns),
      chunked_(chunked),
      equal_layers_(true) {
  const double bits = profile.bits[static_cast<size_t>(precision)];
  must(bits > 0 || shared_columns == 0, "this engine's packing has no shared experts");
  own_source_ = std::make_unique<SyntheticWeights>(name_, config, bits > 0 ? WeightChoice::bf16 : choice_of(precision));
  source_ = own_source_.get();
  units_ = UnitTable::of(config_, row_parallel_group(*source_));
  count_parameters();
  if (bits > 0) layer_scale_ = vocabulary_scale_ = bits / 16;
  if (bits > 0 && profile.vocabulary_bits > 0) vocabulary_scale_ = std::max(bits, profile.vocabulary_bits) / 16;
  bits_ = bits > 0 ? bits : 8 * packed_bytes({}, 0, 1, false, false) * config_.num_layers / layer_parameters_;
}

ModelWork::ModelWork(const WeightSource& source, const ModelConfig& config, double kv_bytes)
    : name_(source.path()),
      config_(config),
      source_(&source),
      units_(UnitTable::of(config, row_parallel_group(source))),
      precision_(precision_of(source)),
      kv_bytes_(kv_bytes) {
  count_parameters();
  bits_ = 8 * packed_bytes({}, 0, config_.num_layers, false, false) / layer_parameters_;
}

double ModelWork::shared_parameters() const { return 3 * shared_columns_ * static_cast<double>(config_.hidden_size); }

void ModelWork::count_parameters() {
  layer_parameters_ = config_.num_layers * shared_parameters();
  vocabulary_parameters_ = of(config_.vocab_size, config_.hidden_size);
  for (int64_t window : config_.layer_windows) windows_[window]++;
  for (const TensorSlot& slot : tensor_slots(config_, units_)) {
    if (!slot.name.starts_with("layers.")) continue;
    layer_parameters_ += of(slot.rows, slot.columns);
    if (is_experts(config_, slot.name, slot.axis)) expert_parameters_ += of(slot.rows, slot.columns);
  }
}

double ModelWork::parameters() const {
  return layer_parameters_ + vocabulary_parameters_ * (config_.tie_word_embeddings ? 1 : 2);
}

double ModelWork::read_share(double rows) const {
  if (config_.num_experts == 0) return 1;
  const double unread = std::pow(1 - static_cast<double>(config_.experts_per_token) / config_.num_experts, rows);
  return 1 - expert_parameters_ / layer_parameters_ * unread;
}

double ModelWork::used_expert_share() const {
  if (config_.num_experts == 0) return 0;
  return expert_parameters_ / layer_parameters_ * config_.experts_per_token / config_.num_experts;
}

double ModelWork::seen_positions(double context) const {
  double seen = 0;
  for (auto [window, layers] : windows_)
    seen += layers * (window > 0 ? std::min(context, static_cast<double>(window)) : context);
  return seen / config_.num_layers;
}

double ModelWork::seen_in_prompt(double tokens) const {
  double seen = 0;
  for (auto [window, layers] : windows_) {
    const double most = window > 0 ? std::min(tokens, static_cast<double>(window)) : tokens;
    const double rest = std::fmod(tokens, most);  // of the last chunk
    // Rows see ever more until it is `most`; in chunks they begin again.
    seen +=
        layers * (chunked_ ? ((tokens - rest) * most + rest * rest) / (2 * tokens) : most * (1 - most / (2 * tokens)));
  }
  return seen / config_.num_layers;
}

double ModelWork::kept_positions(double context, const EngineProfile& profile) const {
  return profile.drops_unseen && !chunked_ ? seen_positions(context) : context;
}

double ModelWork::packed_bytes(const StagePlace& at, int first, int end, bool embeds, bool ends) const {
  const StagePlace place{at.tp, at.tp_rank, first, end, embeds, ends};
  return static_cast<double>(StageWeights::packed_bytes_of(*source_, config_, units_, place, Numerics::standard));
}

// Of the rank at `place`.
StageWork ModelWork::stage_of(const StagePlace& place) const {
  const RankShare share = RankShare::of(config_, units_, place.tp, place.tp_rank);
  StageWork w;
  w.place = place;
  w.layers = place.end_layer - place.first_layer;
  const double layers = equal_layers_ ? w.layers * packed_bytes(place, 0, 1, false, false)
                                      : packed_bytes(place, place.first_layer, place.end_layer, false, false);
  const double shared = w.layers * shared_parameters() / place.tp;
  w.layer_bytes = layers * layer_scale_ + shared * bits_ / 8;
  w.weight_bytes = w.layer_bytes + packed_bytes(place, 0, 0, place.first, place.last) * vocabulary_scale_;
  if (place.last) {
    w.head_bytes = packed_bytes(place, 0, 0, false, true) * vocabulary_scale_;
    w.head_parameters = of(share.num_tokens, config_.hidden_size);
  }
  const int64_t attention = 2 * (share.num_heads + share.num_kv_heads) * int64_t{config_.head_dim};
  w.layer_parameters = w.layers * of(attention + 3 * share.intermediate, config_.hidden_size) + shared;
  w.heads = share.num_heads;
  w.kv_heads = share.num_kv_heads;
  return w;
}

std::vector<StageWork> ModelWork::stages(int tp, int pp, const std::vector<int>& split) const {
  const std::vector<int> borders = layer_borders(config_.num_layers, pp, split);
  std::vector<StageWork> stages;
  for (int s = 0; s < pp; s++) {
    const int first = borders[static_cast<size_t>(s)], end = borders[static_cast<size_t>(s + 1)];
    // Between the first and the last, stages of as many layers hold as much: asked once, for there may be hundreds.
    if (equal_layers_ && s > 1 && s + 1 < pp && end - first == stages.back().layers) {
      stages.push_back(stages.back());
      stages.back().place.first_layer = first, stages.back().place.end_layer = end;
      continue;
    }
    StageWork fullest;
    std::set<std::tuple<int, int, int64_t, int64_t>> seen;  // ranks that hold as much do as much
    double kv_heads = 0;
    for (int r = 0; r < tp; r++) {
      const RankShare share = RankShare::of(config_, units_, tp, r);
      if (!seen.emplace(share.num_heads, share.num_kv_heads, share.intermediate, share.num_tokens).second) continue;
      const StageWork work = stage_of({tp, r, first, end, s == 0, s + 1 == pp});
      kv_heads = std::max(kv_heads, work.kv_heads);
      if (work.weight_bytes > fullest.weight_bytes) fullest = work;
    }
    fullest.kv_heads = kv_heads;
    stages.push_back(fullest);
  }
  return stages;
}

}  // namespace trireme
