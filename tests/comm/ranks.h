#pragma once

#include <cstdio>
#include <exception>
#include <functional>
#include <span>
#include <string>

#include "base/error.h"
#include "comm/communicator.h"

namespace trireme::testing {

// A test of several ranks. Every rank makes every check; a failed one is noted, never thrown, so that no rank leaves
// the others alone in a collective; at the end of each test all ranks agree on the outcome.
class Ranks {
 public:
  explicit Ranks(Communicator& world) : world(world) {}

  void check(bool holds, const std::string& what) {
    if (holds) return;
    if (failures_++ < 5) std::fprintf(stderr, "rank %d: %s: FAILED: %s\n", world.rank(), name_.c_str(), what.c_str());
  }

  void test(const std::string& name, const std::function<void()>& body) {
    name_ = name;
    int64_t before = failures_;
    body();
    int64_t failed = world.all_sum(failures_ - before);
    if (world.rank() == 0) std::printf("%s %s (%d ranks)\n", failed ? "FAILED" : "ok    ", name.c_str(), world.size());
    failed_anywhere_ += failed;
  }

  int failed() const { return failed_anywhere_ > 0 ? 1 : 0; }

  Communicator& world;

 private:
  std::string name_;
  int64_t failures_ = 0, failed_anywhere_ = 0;
};

// main of a program of ranks: an error on one rank ends all.
inline int run_ranks(int argc, char** argv, std::chrono::milliseconds deadline,
                     const std::function<void(Ranks&)>& tests) {
  try {
    MpiSession session(&argc, &argv);
    try {
      Waiter waiter(deadline);
      Communicator world = Communicator::world(waiter);
      Ranks ranks(world);
      tests(ranks);
      return ranks.failed();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "FAILED: %s\n", error.what());
      MpiSession::abort(1);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s\n", error.what());
    return 1;
  }
}

}  // namespace trireme::testing
