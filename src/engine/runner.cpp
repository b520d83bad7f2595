#include "engine/runner.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "base/error.h"

namespace trireme {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

template <typename F>
double timed(const F& f) {
  const auto start = Clock::now();
  f();
  return seconds_since(start);
}

}  // namespace

Runner::Runner(const ModelConfig& config, Stage& stage, Sampler* sampler, Collective& group, Receiver* previous,
               Sender* next, Device& device, Waiter& waiter, const StepLimits& limits, int slots,
               int64_t rope_positions)
    : config_(config),
      stage_(stage),
      sampler_(sampler),
      group_(group),
      previous_(previous),
      next_(next),
      device_(device),
      waiter_(waiter),
      rope_positions_(rope_positions),
      table_blocks_(table_blocks(config)),
      block_tables_(static_cast<size_t>(table_bytes(config, slots)), "block tables"),
      table_sizes_(static_cast<size_t>(slots)),
      prompt_tokens_(static_cast<size_t>(slots)),
      arrays_(device, limits.rows, slots, table_blocks_),
      residual_(device.allocate(hop_bytes(config, limits), "the residual stream")) {}

int64_t Runner::table_blocks(const ModelConfig& config) { return config.max_positions / kBlockTokens + 1; }

int64_t Runner::table_bytes(const ModelConfig& config, int64_t slots) {
  return slots * table_blocks(config) * int64_t{sizeof(int32_t)};
}

int64_t Runner::staged_bytes(const ModelConfig& config, const StepLimits& limits, int64_t slots) {
  return StepArrays::bytes(limits.rows, slots, table_blocks(config));
}

size_t Runner::hop_bytes(const ModelConfig& config, const StepLimits& limits) {
  return static_cast<size_t>(limits.rows * config.hidden_size) * sizeof(float);
}

// A device that passes its rows on may still be at the step before, which reads the small arrays of then: meanwhile
// this step's rows may come.
std::optional<StepResult> Runner::run(const StepPlan& plan, const std::function<void()>& meanwhile) {
  const auto start = Clock::now();
  const double waited = waiter_.waited_seconds(), exchanged = exchange_seconds();
  const int64_t rows = plan.rows();
  MatrixView<float> x(residual_.as<float>(), rows, config_.hidden_size);
  const std::span<std::byte> message(residual_.data(), static_cast<size_t>(rows * config_.hidden_size) * sizeof(float));
  if (previous_ && rows > 0) previous_->expect(message.size());
  device_.synchronize();
  lay_out(plan, rows);
  if (rows == 0) return std::nullopt;

  if (previous_) times_.communication += timed([&] { previous_->receive(message); });
  stage_.prepare(arrays_.tokens_for_host());
  arrays_.send();
  auto forward = [&] { stage_.forward(arrays_.for_device(), x); };
  const bool decode = rows == std::ssize(plan.items);
  if (decode && stage_.repeats(rows))
    device_.repeat(rows, std::ref(forward));
  else
    forward();
  if (next_) times_.communication += timed([&] { next_->send(message); });
  std::optional<StepResult> result;
  // Where the device is the host, nothing runs meanwhile.
  if (sampler_) result = sampler_->run(plan, x, device_.works_in_host_memory() ? std::function<void()>() : meanwhile);
  if (result && result->items.empty()) result.reset();

  (decode ? times_.decode : times_.prefill) += seconds_since(start);
  (decode ? times_.decode_tokens : times_.prefill_tokens) += rows;
  times_.communication += exchange_seconds() - exchanged;
  times_.waiting += waiter_.waited_seconds() - waited;
  return result;
}

// The sampler may have a group of its own.
double Runner::exchange_seconds() const {
  const bool own = sampler_ && &sampler_->group() != &group_;
  return group_.seconds() + (own ? sampler_->group().seconds() : 0);
}

void Runner::lay_out(const StepPlan& plan, int64_t rows) {
  arrays_.begin(rows, std::ssize(plan.items));
  for (const PlanItem& item : plan.items) {
    must(item.slot >= 0 && static_cast<size_t>(item.slot) < table_sizes_.size(), "a plan's slot exists");
    int32_t* table = block_tables_.as<int32_t>() + item.slot * table_blocks_;
    int64_t& blocks = table_sizes_[static_cast<size_t>(item.slot)];
    if (item.admit) prompt_tokens_[static_cast<size_t>(item.slot)] = item.spec.prompt_tokens;
    if (item.restart) blocks = 0;
    must(blocks + std::ssize(item.new_blocks) <= table_blocks_, "a sequence has the blocks of its context at most");
    std::copy(item.new_blocks.begin(), item.new_blocks.end(), table + blocks);
    blocks += std::ssize(item.new_blocks);
    const int32_t count = static_cast<int32_t>(item.tokens.size());
    must(item.position + count <= blocks * kBlockTokens, "a plan brings the blocks that its rows need");
    arrays_.add_span(count, item.position, {table, static_cast<size_t>(blocks)});
    for (int32_t t = 0; t < count; t++) {
      const int32_t position = item.position + t;
      arrays_.add_row(item.tokens[static_cast<size_t>(t)],
                      angle_of(position, prompt_tokens_[static_cast<size_t>(item.slot)]),
                      int64_t{table[position / kBlockTokens]} * kBlockTokens + position % kBlockTokens);
    }
  }
}

// Longrope: as in transformers, a prompt turns by the set of its own length, and a generated token by that of its text
// so far. It depends on the sequence alone, not on chunks.
int32_t Runner::angle_of(int32_t position, int32_t prompt_tokens) const {
  const int64_t from = config_.long_rope_from();
  const bool is_long = from > 0 && std::max(prompt_tokens, position + 1) > from;
  return is_long ? static_cast<int32_t>(rope_positions_ + position) : position;
}

}  // namespace trireme
