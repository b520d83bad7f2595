#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "engine/pace.h"
#include "engine/runner.h"
#include "engine/scheduler.h"

namespace trireme {

// The ranks of one replica as the engine sees them: rank 0 leads, one rank (rank 0 of the last stage) has the results.
struct Replica {
  Communicator& ranks;
  int result_rank = 0;
};

// The leader: takes requests, decides every step, tells the followers, takes its own part in it, and gives completions.
// A step is three verbs: schedule, run, postprocess. Up to limits.in_flight steps are on their way at once.
class Engine {
 public:
  // tokenizer: null where nobody wants text; completions then have tokens alone.
  Engine(Replica replica, Runner& runner, const Tokenizer* tokenizer, const ModelConfig& config,
         const SchedulerLimits& limits);

  // A request that can never run comes back at once as a completion with an error.
  void submit(Request request);
  bool idle() const { return scheduler_.empty(); }

  // Schedules and runs what it can, then takes the oldest step's result. Nothing to do: tells the followers that it
  // lives, once a second or four times a deadline. meanwhile: what needs no result of this step (more documents,
  // results of earlier ones): called once, while a device is at the step where there is one. It may submit() and
  // take_finished().
  void step(const std::function<void()>& meanwhile = {});
  std::vector<Completion> take_finished() { return std::exchange(finished_, {}); }
  void stop();  // ends the followers; they may follow() again

  const Scheduler& scheduler() const { return scheduler_; }
  const Pace& pace() const { return pace_; }

 private:
  void run(StepPlan plan, const std::function<void()>& meanwhile = {});
  void postprocess(const StepResult& result);
  void fault(Sequence& sequence);
  void append(Sequence& sequence, const ItemResult& item);
  bool cut_at_stop_text(Sequence& sequence);
  void finish(Sequence& sequence, const char* reason);

  Replica replica_;
  Runner& runner_;
  const Tokenizer* tokenizer_;
  const ModelConfig& config_;
  Scheduler scheduler_;
  Pace pace_;
  uint64_t next_step_ = 1;
  int in_flight_ = 0;
  std::vector<StepResult> own_results_;  // when this rank samples itself
  std::chrono::steady_clock::time_point last_plan_;
  std::vector<Completion> finished_;
};

// The followers' mirror image: receive a plan, run it, send the result if it is here; until the plan says stop.
void follow(Replica replica, Runner& runner);

}  // namespace trireme
