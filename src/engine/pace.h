#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "engine/step_plan.h"

namespace trireme {

// What steps took by the leader's clock, from one result to the next: all that a step costs, the host's part between
// steps too. Of a pipeline that is the time between results, not of one step. Where a prompt is in any step under way,
// the time is that of prompts; a last piece of one token passes for a generated one.
class Pace {
 public:
  struct Phase {
    double seconds = 0;
    double rows = 0;       // of the model
    double positions = 0;  // sum over rows of where they stand
    double in_flight = 0;  // sum over seconds of the sequences in the steps under way
    double stretches = 0;  // of steps of this phase, one after the other

    double sequences() const { return in_flight / seconds; }  // a mean
    double position() const { return positions / rows; }
    double ms_per_row() const { return seconds / rows * 1e3; }
    // Of one sequence, from one of its tokens to the next.
    double ms_per_token() const { return in_flight / rows * 1e3; }
  };

  void rest();  // nothing is under way, and nothing to do
  void begin(const StepPlan& plan);
  void end();  // of the oldest step

  const Phase& decode() const { return decode_; }
  const Phase& prefill() const { return prefill_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Step {
    double rows = 0, positions = 0, sequences = 0;
    bool prompts = false;
  };

  std::deque<Step> under_way_;
  std::optional<bool> prompts_;            // under way at the last result; none after a rest
  Clock::time_point last_ = Clock::now();  // result, or rest
  Phase decode_, prefill_;
};

}  // namespace trireme
