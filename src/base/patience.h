#pragma once

#include <algorithm>
#include <chrono>

namespace trireme {

// A deadline in time in which this process runs: while it is stopped (SIGSTOP, a suspended job, a virtual machine that
// pauses) nothing can reach it, and those for whom it waits are mostly stopped with it. So of the time from one look to
// the next a quarter of the deadline counts, `most_of_look` at most.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Patience(std::chrono::milliseconds deadline, Clock::time_point now = Clock::now(),
                    std::chrono::milliseconds most_of_look = std::chrono::seconds(1))
      : left_(deadline),
        most_(std::max(std::chrono::milliseconds(1), std::min(deadline / 4, most_of_look))),
        seen_(now) {}

  // Looks. True when the deadline has passed: then what was waited for may have come since it was asked for last.
  bool over(Clock::time_point now = Clock::now()) {
    left_ -= std::min(now - seen_, most_);
    seen_ = now;
    return left_ <= Clock::duration::zero();
  }

 private:
  Clock::duration left_, most_;
  Clock::time_point seen_;
};

}  // namespace trireme
