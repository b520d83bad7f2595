// What a leader's host does between the sampled ids of one decode step and the launch of the next, without any model:
// the ids appended, the next step planned and written for the followers; and what a follower reads. One line a number
// of sequences: microseconds, the median of 2000 steps, each.
//
//     build/bench/between_steps [SEQUENCES ...]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "engine/scheduler.h"

using namespace trireme;

namespace {

constexpr int kSteps = 2000, kPrompt = 32;

class Clock {
 public:
  template <typename F>
  void add(const F& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const auto end = std::chrono::steady_clock::now();
    us_.push_back(std::chrono::duration<double, std::micro>(end - start).count());
  }
  double median() {
    std::nth_element(us_.begin(), us_.begin() + static_cast<std::ptrdiff_t>(us_.size() / 2), us_.end());
    return us_[us_.size() / 2];
  }

 private:
  std::vector<double> us_;
};

void measure(int sequences) {
  const int blocks = sequences * ((kPrompt + kSteps) / 32 + 2);
  Scheduler scheduler({.max_seqs = sequences,
                       .max_step_tokens = sequences * kPrompt,
                       .kv_blocks = blocks,
                       .in_flight = 1,
                       .max_positions = 2 * kSteps});
  for (int i = 0; i < sequences; i++) {
    Request request;
    request.prompt.assign(kPrompt, i);
    request.sampling.max_tokens = kSteps + 1;
    scheduler.add(std::make_unique<Sequence>(std::move(request), nullptr));
  }
  StepPlan plan;
  scheduler.schedule(plan);  // the prompts
  Clock append, schedule, write, read;
  for (int step = 0; step < kSteps - 1; step++) {
    const StepPlan before = plan;
    append.add([&] {
      for (const PlanItem& item : before.items) scheduler.token_sampled(scheduler.in_slot(item.slot), step);
    });
    schedule.add([&] { scheduler.schedule(plan); });
    plan.number = static_cast<uint64_t>(step);
    std::vector<std::byte> bytes;
    write.add([&] { bytes = serialize(plan); });
    read.add([&] { parse_plan(bytes, plan.number); });
    must(plan.rows() == sequences, "every sequence decodes in every step");
  }
  fmt::print("{:4} sequences: ids {:.1f} us, plan {:.1f} us, written {:.1f} us; read {:.1f} us\n", sequences,
             append.median(), schedule.median(), write.median(), read.median());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> counts;
  for (int i = 1; i < argc; i++) counts.push_back(std::max(1, std::atoi(argv[i])));
  if (counts.empty()) counts = {1, 16, 64, 256};
  for (int count : counts) measure(count);
}
