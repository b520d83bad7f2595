#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/math.h"

namespace trireme {

namespace {

// A rank's window: [chunk] candidates, then [chunk, tokens held] logits, so that one run of bytes shows either or both.
size_t candidate_bytes(int64_t rows) { return (static_cast<size_t>(rows) * sizeof(SampledToken) + 63) / 64 * 64; }

bool better(float a_value, int32_t a, float b_value, int32_t b) {
  return a_value > b_value || (a_value == b_value && a < b);
}

}  // namespace

Sampler::Sampler(const ModelConfig& config, Stage& stage, Collective& group, std::span<const RankShare> shares,
                 Device& device, const Kernels& kernels, const Kernels& on_host, const StepLimits& limits, int slots)
    : config_(config),
      stage_(stage),
      group_(group),
      shares_(shares.begin(), shares.end()),
      device_(device),
      kernels_(kernels),
      on_host_(on_host),
      chunk_rows_(limits.logit_rows),
      slots_(static_cast<size_t>(slots)),
      sample_rows_(device, static_cast<size_t>(chunk_rows_), "rows to sample"),
      to_(shares.size()),
      from_(shares.size()),
      log_sums_(device, static_cast<size_t>(chunk_rows_), "sums of exponentials"),
      order_(static_cast<size_t>(config.vocab_size)) {
  if (group.rank() == 0)
    full_ = device.allocate_pinned(static_cast<size_t>(gathered_bytes(config, limits)), "gathered logits");
}

int64_t Sampler::gathered_bytes(const ModelConfig& config, const StepLimits& limits) {
  return limits.logit_rows * config.vocab_size * int64_t{sizeof(float)};
}

size_t Sampler::window_bytes(const ModelConfig& config, const UnitTable& units, int tp, const StepLimits& limits) {
  int64_t widest = 0;
  for (int r = 0; r < tp; r++) widest = std::max(widest, RankShare::of(config, units, tp, r).num_tokens);
  return candidate_bytes(limits.logit_rows) + static_cast<size_t>(limits.logit_rows * widest) * sizeof(float);
}

StepResult Sampler::run(const StepPlan& plan, MatrixView<const float> x, const std::function<void()>& before_waiting) {
  collect_rows(plan);
  StepResult result{plan.number, {}};
  for (const PlanItem& item : plan.items) result.items.push_back({.slot = item.slot});
  const std::span<const Row> rows(rows_);
  for (size_t begin = 0; begin < rows.size(); begin += static_cast<size_t>(chunk_rows_)) {
    const auto chunk = rows.subspan(begin, std::min(rows.size() - begin, static_cast<size_t>(chunk_rows_)));
    const bool all_logits = launch_chunk(chunk, x);
    if (begin == 0 && before_waiting) before_waiting();
    take_chunk(chunk, all_logits, result);
  }
  if (group_.rank() != 0) result.items.clear();
  for (ItemResult& item : result.items) item.digest = slots_[static_cast<size_t>(item.slot)].digest.digest();
  return result;
}

void Sampler::collect_rows(const StepPlan& plan) {
  rows_.clear();
  int32_t row = 0;
  for (size_t i = 0; i < plan.items.size(); i++) {
    const PlanItem& item = plan.items[i];
    SlotState& slot = slots_[static_cast<size_t>(item.slot)];
    if (item.admit) {
      slot.spec = item.spec;
      slot.digest.reset();
    }
    const int32_t count = static_cast<int32_t>(item.tokens.size());
    for (int32_t t = 0; t < count; t++, row++) {
      if (item.position + t < item.logit_from) continue;
      const int32_t next = t + 1 < count ? item.tokens[static_cast<size_t>(t) + 1] : item.next_token;
      rows_.push_back({i, row, item.position + t, next});
    }
  }
  item_of_slot_.clear();
  for (const PlanItem& item : plan.items) item_of_slot_.push_back(static_cast<size_t>(item.slot));
}

// Logits and each rank's best. Whether anybody wants all logits.
bool Sampler::launch_chunk(std::span<const Row> rows, MatrixView<const float> x) {
  const RankShare& mine = shares_[static_cast<size_t>(group_.rank())];
  const int64_t count = std::ssize(rows);
  auto* candidates = reinterpret_cast<SampledToken*>(group_.window());
  MatrixView<float> logits(reinterpret_cast<float*>(group_.window() + candidate_bytes(count)), count, mine.num_tokens);

  row_numbers_.clear();
  for (const Row& row : rows) row_numbers_.push_back(row.row);
  stage_.head(x, row_numbers_, logits);

  bool all_logits = false;
  sample_rows_.clear();
  for (int64_t i = 0; i < count; i++) {
    const Row& row = rows[static_cast<size_t>(i)];
    const SamplerSpec& spec = slots_[item_of_slot_[row.item]].spec;
    sample_rows_.push_back({logits.row(i), spec.temperature, spec.noise_key, row.position});
    all_logits = all_logits || wants_all_logits(row, spec);
  }
  device_.launch(kernels_.sample, Sample{sample_rows_,
                                         static_cast<int32_t>(mine.first_token),
                                         static_cast<int32_t>(mine.num_tokens),
                                         {candidates, static_cast<size_t>(count)}});
  return all_logits;
}

void Sampler::take_chunk(std::span<const Row> rows, bool all_logits, StepResult& result) {
  const int64_t count = std::ssize(rows);
  gather(count, all_logits);
  if (group_.rank() != 0) return;
  if (all_logits) {
    log_sums_.resize(rows.size());
    device_.launch(kernels_.log_sum_exp,
                   LogSumExp{MatrixView<float>(full_.as<float>(), count, config_.vocab_size), log_sums_});
    device_.synchronize();
  }
  for (size_t i = 0; i < rows.size(); i++) finish_row(i, rows[i], all_logits, result.items[rows[i].item]);
}

bool Sampler::wants_all_logits(const Row& row, const SamplerSpec& spec) const {
  if (spec.digest) return true;
  if (row.position + 1 < spec.prompt_tokens) return spec.prompt_logprobs >= 0;
  return spec.logprobs >= 0 || (spec.temperature > 0 && (spec.top_k > 0 || spec.top_p < 1));
}

// Shows every rank's candidates, and its logits if anybody wants them, to rank 0, which sets the rows together.
void Sampler::gather(int64_t rows, bool all_logits) {
  auto piece = [&](int r) {
    size_t logits = static_cast<size_t>(rows * shares_[static_cast<size_t>(r)].num_tokens) * sizeof(float);
    return Collective::Piece{0, candidate_bytes(rows) + (all_logits ? logits : 0), 0, 1};
  };
  std::fill(to_.begin(), to_.end(), Collective::Piece{});
  std::fill(from_.begin(), from_.end(), Collective::Piece{});
  to_[0] = piece(group_.rank());
  if (group_.rank() == 0)
    for (int r = 0; r < group_.size(); r++) from_[static_cast<size_t>(r)] = piece(r);
  group_.exchange(to_, from_);
  if (group_.rank() != 0 || !all_logits) return;
  for (int r = 0; r < group_.size(); r++) {
    const RankShare& share = shares_[static_cast<size_t>(r)];
    const auto* logits = reinterpret_cast<const float*>(group_.shown(r) + candidate_bytes(rows));
    for (int64_t i = 0; i < rows; i++)
      std::copy_n(logits + i * share.num_tokens, share.num_tokens,
                  full_.as<float>() + i * config_.vocab_size + share.first_token);
  }
}

void Sampler::finish_row(size_t i, const Row& row, bool all_logits, ItemResult& result) {
  SlotState& slot = slots_[static_cast<size_t>(result.slot)];
  const std::span<const float> logits(full_.as<float>() + static_cast<int64_t>(i) * config_.vocab_size,
                                      static_cast<size_t>(all_logits ? config_.vocab_size : 0));
  if (slot.spec.digest) slot.digest.update(std::as_bytes(logits));
  SampledToken best = best_token(i);
  if (best.token < 0) {
    result.token = ItemResult::kNumericalError;
    return;
  }
  if (row.known_next >= 0) {
    if (slot.spec.prompt_logprobs < 0 || row.position + 1 >= slot.spec.prompt_tokens) return;
    result.prompt_logprobs.push_back(logprob_of(i, row.known_next, slot.spec.prompt_logprobs));
    if (witness_) witness_(row.position, logits);
    return;
  }
  const SamplerSpec& spec = slot.spec;
  if (spec.temperature > 0 && (spec.top_k > 0 || spec.top_p < 1)) best = sample_restricted(i, row, spec);
  if (result.token != ItemResult::kNumericalError) result.token = best.token;
  if (spec.logprobs >= 0) result.logprobs.push_back(logprob_of(i, best.token, spec.logprobs));
}

SampledToken Sampler::best_token(size_t i) const {
  SampledToken best{-std::numeric_limits<float>::infinity(), -1};
  for (int r = 0; r < group_.size(); r++) {
    if (shares_[static_cast<size_t>(r)].num_tokens == 0) continue;
    SampledToken c = reinterpret_cast<const SampledToken*>(group_.shown(r))[i];
    if (c.token < 0) return {0, -1};
    if (best.token < 0 || better(c.score, c.token, best.score, best.token)) best = c;
  }
  return best;
}

// Leaves the top_k best tokens, of these the fewest whose probabilities (at this temperature) reach top_p, and samples
// among them with the same noise as always.
SampledToken Sampler::sample_restricted(size_t i, const Row& row, const SamplerSpec& spec) {
  float* logits = full_.as<float>() + static_cast<int64_t>(i) * config_.vocab_size;
  const size_t vocab = static_cast<size_t>(config_.vocab_size);
  size_t kept = spec.top_k > 0 ? std::min(static_cast<size_t>(spec.top_k), vocab) : vocab;
  for (size_t t = 0; t < vocab; t++) order_[t] = static_cast<int32_t>(t);
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(kept), order_.end(),
                    [&](int32_t a, int32_t b) { return better(logits[a], a, logits[b], b); });
  if (spec.top_p < 1) {
    const double top = logits[order_[0]];
    auto weight = [&](size_t t) {
      return exact_exp(
          std::max(-700.0, (static_cast<double>(logits[order_[t]]) - top) / static_cast<double>(spec.temperature)));
    };
    double total = 0, sum = 0;
    for (size_t t = 0; t < kept; t++) total += weight(t);
    size_t t = 0;
    while (t < kept && sum < static_cast<double>(spec.top_p) * total) sum += weight(t++);
    kept = std::max<size_t>(t, 1);
  }
  SampledToken best;
  for (size_t t = 0; t < kept; t++) {  // one token at a time: its score does not depend on which others are there
    SampleRow one{logits + order_[t], spec.temperature, spec.noise_key, row.position};
    SampledToken score;
    on_host_.sample({}, {{&one, 1}, order_[t], 1, {&score, 1}});
    if (best.token < 0 || better(score.score, score.token, best.score, best.token)) best = score;
  }
  return best;
}

TokenLogprob Sampler::logprob_of(size_t i, int32_t token, int count) const {
  const float* logits = full_.as<float>() + static_cast<int64_t>(i) * config_.vocab_size;
  TokenLogprob result{token, logits[token] - log_sums_[i], {}};
  const size_t best = std::min(static_cast<size_t>(count), order_.size());
  if (best == 0) return result;
  for (size_t t = 0; t < order_.size(); t++) order_[t] = static_cast<int32_t>(t);
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(best), order_.end(),
                    [&](int32_t a, int32_t b) { return better(logits[a], a, logits[b], b); });
  for (size_t t = 0; t < best; t++) result.top.push_back({order_[t], logits[order_[t]] - log_sums_[i]});
  return result;
}

}  // namespace trireme
