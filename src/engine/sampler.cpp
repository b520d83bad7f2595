#include "engine/sampler.h"

#include <algorithm>

#include "engine/nucleus.h"

namespace trireme {

namespace {

constexpr size_t kAligned = 64;
constexpr int32_t kNucleus = 64;  // best tokens of a row that top_p cuts: most nuclei are smaller
size_t padded(size_t bytes) { return (bytes + kAligned - 1) / kAligned * kAligned; }

int64_t units_of(const RankShare& share) { return share.vocab.end - share.vocab.begin; }
size_t row_bytes(const RankShare& share) { return static_cast<size_t>(share.num_tokens) * sizeof(float); }

bool better(const SampledToken& a, const SampledToken& b) {
  return a.score > b.score || (a.score == b.score && a.token < b.token);
}

}  // namespace

Sampler::Sampler(const ModelConfig& config, const UnitTable& units, Stage& stage, Collective& group, Device& device,
                 const Kernels& kernels, const Kernels& on_host, const StepLimits& limits, int slots)
    : config_(config),
      unit_(static_cast<int32_t>(units.rows_per_unit)),
      stage_(stage),
      group_(group),
      device_(device),
      kernels_(kernels),
      on_host_(on_host),
      chunk_rows_(static_cast<size_t>(limits.logit_rows)),
      whole_rows_of_chunk_(static_cast<size_t>(limits.whole_rows)),
      slots_(static_cast<size_t>(slots)),
      sample_rows_(device, chunk_rows_, "rows to sample"),
      ranked_rows_(device, chunk_rows_, "rows to rank"),
      sum_rows_(device, 2 * chunk_rows_, "rows of sums"),
      to_(static_cast<size_t>(group.size())),
      from_(to_.size()) {
  must(chunk_rows_ > 0 && whole_rows_of_chunk_ > 0, "a chunk has room for a row, shown whole or not");
  for (int r = 0; r < group.size(); r++) shares_.push_back(RankShare::of(config, units, group.size(), r));
  logits_ = device.allocate(logits_bytes(shares_[static_cast<size_t>(group.rank())], limits), "logits");
  parts_ = device.allocate(chunk_rows_ * kSampleParts * sizeof(SampledToken), "parts of rows");
}

size_t Sampler::logits_bytes(const RankShare& share, const StepLimits& limits) {
  return static_cast<size_t>(limits.logit_rows) * row_bytes(share);
}

size_t Sampler::window_bytes(const ModelConfig& config, const UnitTable& units, int tp, const StepLimits& limits) {
  const auto rows = static_cast<size_t>(limits.logit_rows), whole_rows = static_cast<size_t>(limits.whole_rows);
  size_t most = 0;
  for (int r = 0; r < tp; r++) {
    const RankShare share = RankShare::of(config, units, tp, r);
    const size_t sums = 2 * rows * static_cast<size_t>(units_of(share)) * sizeof(ExpSum);
    most = std::max(most, padded(sums) + whole_rows * row_bytes(share));
  }
  return padded(rows * sizeof(SampledToken)) + padded(rows * kMostBest * sizeof(TokenLogit)) + most;
}

StepResult Sampler::run(const StepPlan& plan, MatrixView<const float> x, const std::function<void()>& before_waiting) {
  collect_rows(plan);
  StepResult result;
  for (const PlanItem& item : plan.items) result.items.push_back({.slot = item.slot});
  for (std::span<Row> rows = rows_; !rows.empty();) {
    const std::span<Row> chunk = first_chunk(rows);
    launch_chunk(chunk, x);
    if (rows.size() == rows_.size() && before_waiting) before_waiting();
    take_chunk(chunk, result);
    rows = rows.subspan(chunk.size());
  }
  if (group_.rank() != 0) result.items.clear();
  for (ItemResult& item : result.items) item.digest = slots_[static_cast<size_t>(item.slot)].digest.digest();
  return result;
}

void Sampler::collect_rows(const StepPlan& plan) {
  rows_.clear();
  slot_of_item_.clear();
  int32_t row = 0;
  for (size_t i = 0; i < plan.items.size(); i++) {
    const PlanItem& item = plan.items[i];
    SlotState& slot = slots_[static_cast<size_t>(item.slot)];
    if (item.admit) {
      slot.spec = item.spec;
      slot.digest.reset();
    }
    slot_of_item_.push_back(static_cast<size_t>(item.slot));
    const int32_t count = static_cast<int32_t>(item.tokens.size());
    for (int32_t t = 0; t < count; t++, row++) {
      if (item.position + t < item.logit_from) continue;
      const int32_t next = t + 1 < count ? item.tokens[static_cast<size_t>(t) + 1] : item.next_token;
      rows_.push_back({i, row, item.position + t, next});
    }
  }
}

// As many rows as there is room for, also of those shown whole.
std::span<Sampler::Row> Sampler::first_chunk(std::span<Row> rows) const {
  size_t count = 0, whole = 0;
  for (; count < rows.size() && count < chunk_rows_; count++) {
    whole += is_shown_whole(rows[count]);
    if (whole > whole_rows_of_chunk_) break;
  }
  return rows.first(count);
}

const SamplerSpec& Sampler::spec_of(const Row& row) const { return slots_[slot_of_item_[row.item]].spec; }

// Whether top_k or top_p leave some of the tokens that it is sampled from.
bool Sampler::is_cut(const Row& row) const {
  const SamplerSpec& spec = spec_of(row);
  return row.known_next < 0 && spec.temperature > 0 && (spec.top_k > 0 || spec.top_p < 1);
}

// Log-probs that are wanted beside the row's token; -1: not even its own.
int32_t Sampler::logprobs_of(const Row& row) const {
  const SamplerSpec& spec = spec_of(row);
  const bool of_prompt = row.position + 1 < spec.prompt_tokens;
  return row.known_next < 0 ? spec.logprobs : of_prompt ? spec.prompt_logprobs : -1;
}

// Best tokens that are wanted of the row.
int32_t Sampler::ranked_of(const Row& row) const {
  const int32_t top_k = is_cut(row) ? spec_of(row).top_k : 0;
  return std::max({0, logprobs_of(row), top_k, is_cut(row) && top_k == 0 ? kNucleus : 0});
}

bool Sampler::is_shown_whole(const Row& row) const {
  const bool watched = witness_ && row.known_next >= 0 && logprobs_of(row) >= 0;
  return spec_of(row).digest || watched || ranked_of(row) > kMostBest;
}

// Logits, each rank's best, and what rows take beside it.
void Sampler::launch_chunk(std::span<Row> rows, MatrixView<const float> x) {
  const RankShare& mine = shares_[static_cast<size_t>(group_.rank())];
  const MatrixView<float> logits(logits_.as<float>(), std::ssize(rows), mine.num_tokens);
  row_numbers_.clear();
  for (const Row& row : rows) row_numbers_.push_back(row.row);
  stage_.head(x, row_numbers_, logits);

  clear_lists();
  for (size_t i = 0; i < rows.size(); i++) list(i, rows[i], logits.row(static_cast<int64_t>(i)));
  launch_listed();
  std::byte* whole = group_.window() + shown_by(group_.rank()).whole;
  for (size_t row : whole_rows_) {
    device_.copy(whole, logits.row(static_cast<int64_t>(row)), row_bytes(mine));
    whole += row_bytes(mine);
  }
}

void Sampler::launch_listed() {
  const RankShare& mine = shares_[static_cast<size_t>(group_.rank())];
  const auto first = static_cast<int32_t>(mine.first_token), tokens = static_cast<int32_t>(mine.num_tokens);
  std::byte* window = group_.window();
  const Shown to = shown_by(group_.rank());
  device_.launch(kernels_.sample, Sample{sample_rows_,
                                         first,
                                         tokens,
                                         {reinterpret_cast<SampledToken*>(window), sample_rows_.size()},
                                         {parts_.as<SampledToken>(), sample_rows_.size() * kSampleParts}});
  const size_t sums = sum_rows_.size() * static_cast<size_t>(units_of(mine));
  if (sums > 0)
    device_.launch(kernels_.exp_sums,
                   ExpSums{sum_rows_, first, tokens, unit_, {reinterpret_cast<ExpSum*>(window + to.sums), sums}});
  const size_t ranked = ranked_rows_.size() * static_cast<size_t>(best_count_);
  if (ranked > 0)
    device_.launch(
        kernels_.best_tokens,
        BestTokens{
            ranked_rows_, first, tokens, best_count_, {reinterpret_cast<TokenLogit*>(window + to.best), ranked}});
}

void Sampler::clear_lists() {
  sample_rows_.clear();
  ranked_rows_.clear();
  sum_rows_.clear();
  whole_rows_.clear();
  best_count_ = 0;
}

// Puts row i of the chunk into the lists of what it takes.
void Sampler::list(size_t i, Row& row, const float* logits) {
  const auto put = [](auto& list, const auto& entry) {
    list.push_back(entry);
    return static_cast<int>(list.size()) - 1;
  };
  const SamplerSpec& spec = spec_of(row);
  const int32_t best = ranked_of(row);
  put(sample_rows_, SampleRow{logits, spec.temperature, spec.noise_key, row.position});
  if (logprobs_of(row) >= 0) row.log_sum = put(sum_rows_, ExpSumRow{logits, 1, row.known_next});
  if (is_cut(row) && spec.top_k == 0) row.nucleus = put(sum_rows_, ExpSumRow{logits, spec.temperature});
  if (best > 0) row.ranked = put(ranked_rows_, logits);
  if (is_shown_whole(row)) row.whole = put(whole_rows_, i);
  best_count_ = std::max(best_count_, std::min(best, kMostBest));
}

Sampler::Shown Sampler::shown_by(int rank) const {
  const RankShare& share = shares_[static_cast<size_t>(rank)];
  Shown s;
  s.sums = padded(sample_rows_.size() * sizeof(SampledToken));
  s.best = s.sums + padded(sum_rows_.size() * static_cast<size_t>(units_of(share)) * sizeof(ExpSum));
  s.whole = s.best + padded(ranked_rows_.size() * static_cast<size_t>(best_count_) * sizeof(TokenLogit));
  s.end = s.whole + whole_rows_.size() * row_bytes(share);
  return s;
}

void Sampler::take_chunk(std::span<Row> rows, StepResult& result) {
  exchange(std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.nucleus >= 0; }));
  doubts_.clear();
  for (size_t i = 0; i < rows.size(); i++) {
    choose(i, rows[i]);
    if (group_.rank() == 0) finish_row(rows[i], result.items[rows[i].item]);
  }
  settle_doubts(rows);
  if (group_.rank() == 0)
    for (const Row& row : rows) take_token(row, result.items[row.item]);
}

// Shows what stands in the window to rank 0; what is no row's logits to the others, too, if they have a say.
void Sampler::exchange(bool with_all) {
  const int me = group_.rank();
  const auto piece = [&](int from, int to) {
    const Shown shown = shown_by(from);
    return Collective::Piece{0, to == 0 ? shown.end : with_all ? shown.whole : 0, 0, 1};
  };
  for (int r = 0; r < group_.size(); r++) {
    to_[static_cast<size_t>(r)] = piece(me, r);
    from_[static_cast<size_t>(r)] = piece(r, me);
  }
  group_.exchange(to_, from_);
}

// A row's token, known next or not. The best of all that are held is the best of the nucleus, too, if it lies in it:
// where that is larger than what is ranked, the rest is not. All ranks have the same doubts; all else is for rank 0.
// Neighbours may make lists longer: nothing may rest on that.
void Sampler::choose(size_t i, Row& row) {
  if (group_.rank() != 0 && row.nucleus < 0) return;
  if (has_nan(i)) return;
  row.chosen = best_token(i);
  if (!is_cut(row)) return;
  const SamplerSpec& spec = spec_of(row);
  const int32_t count = row.nucleus >= 0 ? kNucleus : spec.top_k;
  rank_tokens(row, count);
  const size_t known = std::min(ranked_.size(), static_cast<size_t>(count));
  const float largest = ranked_[0].logit;
  const double total = row.nucleus < 0 ? 0 : exp_sum(unit_sums(row.nucleus), largest, spec.temperature);
  const Cut cut{spec.temperature, spec.top_p, spec.top_k};
  if (const auto kept = tokens_kept(ranked_, cut, known, total)) {
    row.chosen = best_of_first(*kept, row);
    return;
  }
  const TokenLogit last = ranked_[known - 1];
  const bool inside = RankBound{last.logit, last.token + 1}.holds(row.chosen.logit, row.chosen.token);
  if (!inside) doubts_.push_back({i, largest, static_cast<double>(spec.top_p) * total});
}

// A token stays if those that rank before it have less of the probability than top_p. If not, it is the best of those,
// if it stays.
void Sampler::settle_doubts(std::span<Row> rows) {
  std::vector<Doubt> open = doubts_, still;
  for (; !open.empty(); std::swap(open, still), still.clear()) {
    clear_lists();
    for (const Doubt& doubt : open) {
      const Row& row = rows[doubt.row];
      const SamplerSpec& spec = spec_of(row);
      const float* logits = logits_.as<float>() +
                            static_cast<int64_t>(doubt.row) * shares_[static_cast<size_t>(group_.rank())].num_tokens;
      const RankBound before{row.chosen.logit, row.chosen.token};
      sample_rows_.push_back({logits, spec.temperature, spec.noise_key, row.position, before});
      sum_rows_.push_back({logits, spec.temperature, -1, before});
    }
    launch_listed();
    exchange(true);
    for (size_t i = 0; i < open.size(); i++) {
      Row& row = rows[open[i].row];
      const double sum = exp_sum(unit_sums(static_cast<int>(i)), open[i].largest, spec_of(row).temperature);
      if (sum < open[i].wanted) continue;
      row.chosen = best_token(i);
      still.push_back(open[i]);
    }
  }
}

void Sampler::finish_row(Row& row, ItemResult& result) {
  SlotState& slot = slots_[static_cast<size_t>(result.slot)];
  const SamplerSpec& spec = slot.spec;
  if (spec.digest)
    each_piece(row.whole, [&](std::span<const float> logits, int64_t) { slot.digest.update(std::as_bytes(logits)); });
  if (row.chosen.token < 0) {
    result.token = ItemResult::kNumericalError;
    return;
  }
  if (row.log_sum >= 0) row.log_sum_exp = log_sum_exp(unit_sums(row.log_sum));
  if (row.known_next < 0) {
    if (spec.logprobs >= 0) result.logprobs.push_back(logprob_of(row, -1, 0, spec.logprobs));
    return;
  }
  if (row.log_sum < 0) return;
  const float logit = unit_sums(row.log_sum)[static_cast<size_t>(row.known_next / unit_)].logit;
  result.prompt_logprobs.push_back(logprob_of(row, row.known_next, logit, spec.prompt_logprobs));
  if (!witness_) return;
  whole_row_.resize(static_cast<size_t>(config_.vocab_size));
  each_piece(row.whole, [&](std::span<const float> logits, int64_t first) {
    std::copy(logits.begin(), logits.end(), whole_row_.begin() + first);
  });
  witness_(row.position, whole_row_);
}

// A sampled row's.
void Sampler::take_token(const Row& row, ItemResult& result) const {
  if (row.known_next >= 0 || result.token == ItemResult::kNumericalError) return;
  result.token = row.chosen.token;
  if (result.logprobs.empty()) return;
  result.logprobs.back().id = row.chosen.token;
  result.logprobs.back().logprob = row.chosen.logit - row.log_sum_exp;
}

// Of those that the ranks found, each within the row's bound.
SampledToken Sampler::best_token(size_t i) const {
  SampledToken best;
  for (int r = 0; r < group_.size(); r++) {
    const SampledToken c = reinterpret_cast<const SampledToken*>(group_.shown(r))[i];
    if (c.token >= 0 && (best.token < 0 || better(c, best))) best = c;
  }
  return best;
}

// Whether a rank that has tokens found none, though no bound kept it from any.
bool Sampler::has_nan(size_t i) const {
  bool nan = false;
  for (int r = 0; r < group_.size(); r++)
    nan = nan || (shares_[static_cast<size_t>(r)].num_tokens > 0 &&
                  reinterpret_cast<const SampledToken*>(group_.shown(r))[i].token < 0);
  return nan;
}

// Of the whole vocabulary, in order; holds until the next call.
std::span<const ExpSum> Sampler::unit_sums(int place) {
  unit_sums_.clear();
  for (int r = 0; r < group_.size(); r++) {
    const int64_t units = units_of(shares_[static_cast<size_t>(r)]);
    const auto* sums = reinterpret_cast<const ExpSum*>(group_.shown(r) + shown_by(r).sums) + place * units;
    unit_sums_.insert(unit_sums_.end(), sums, sums + units);
  }
  return unit_sums_;
}

// Calls f(logits, their first token) for each rank's part of a whole row, ascending.
template <typename F>
void Sampler::each_piece(int whole, const F& f) const {
  for (int r = 0; r < group_.size(); r++) {
    const RankShare& share = shares_[static_cast<size_t>(r)];
    const std::byte* at = group_.shown(r) + shown_by(r).whole + static_cast<size_t>(whole) * row_bytes(share);
    f(std::span(reinterpret_cast<const float*>(at), static_cast<size_t>(share.num_tokens)), share.first_token);
  }
}

// So many at least, or all there are.
void Sampler::rank_tokens(const Row& row, int32_t count) {
  ranked_.clear();
  if (count > kMostBest)
    return each_piece(row.whole, [&](std::span<const float> logits, int64_t first) {
      ranked_.add(logits, static_cast<int32_t>(first));
    });
  for (int r = 0; r < group_.size(); r++) {
    const auto* best = reinterpret_cast<const TokenLogit*>(group_.shown(r) + shown_by(r).best);
    ranked_.add({best + row.ranked * best_count_, static_cast<size_t>(best_count_)});
  }
}

// The best score of the first ranked tokens, with the same noise as always: one token at a time, for its score does not
// depend on which others are there.
SampledToken Sampler::best_of_first(size_t kept, const Row& row) {
  const SamplerSpec& spec = spec_of(row);
  SampledToken best;
  for (size_t t = 0; t < kept; t++) {
    const TokenLogit one = ranked_[t];
    const SampleRow alone{&one.logit, spec.temperature, spec.noise_key, row.position};
    SampledToken score;
    on_host_.sample({}, {{&alone, 1}, one.token, 1, {&score, 1}});
    if (best.token < 0 || better(score, best)) best = score;
  }
  return best;
}

TokenLogprob Sampler::logprob_of(const Row& row, int32_t token, float logit, int count) {
  TokenLogprob result{token, logit - row.log_sum_exp, {}};
  if (count == 0) return result;
  rank_tokens(row, count);
  const size_t best = std::min(static_cast<size_t>(count), ranked_.size());
  for (size_t t = 0; t < best; t++) result.top.push_back({ranked_[t].token, ranked_[t].logit - row.log_sum_exp});
  return result;
}

}  // namespace trireme
