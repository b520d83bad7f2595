#include "base/bounded_call.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace trireme;
using std::chrono::milliseconds;

namespace {

std::atomic<int> ended_with{0}, times_ended{0};
void note(int code, const std::string&) { ended_with = code, times_ended++; }

// A watchdog whose end returns, which only a test's may.
struct Watched {
  Watchdog watchdog;
  explicit Watched(milliseconds deadline)
      : watchdog("a test, asked for ", deadline, note, ExitCode::stuck, "it is stuck") {
    ended_with = 0, times_ended = 0;
  }
};

bool ended_within(milliseconds limit) {
  for (const auto start = std::chrono::steady_clock::now(); std::chrono::steady_clock::now() - start < limit;)
    if (times_ended > 0) return true;
  return false;
}

}  // namespace

TEST_CASE("a call that lasts longer than the deadline ends the job, once") {
  Watched w(milliseconds(40));
  const Watchdog::Call call(w.watchdog, "a long call");
  CHECK(ended_within(std::chrono::seconds(20)));
  CHECK(ended_with == static_cast<int>(ExitCode::stuck));
  std::this_thread::sleep_for(milliseconds(100));
  CHECK(times_ended == 1);
}

TEST_CASE("many calls that return end nothing, however long they take together; nor does the time between calls") {
  Watched w(milliseconds(1000));
  for (int i = 0; i < 30; i++) {
    const Watchdog::Call call(w.watchdog, "a short call");
    std::this_thread::sleep_for(milliseconds(40));
  }
  std::this_thread::sleep_for(milliseconds(1500));
  CHECK(times_ended == 0);
}

TEST_CASE("a call inside another is part of it") {
  Watched w(milliseconds(40));
  const Watchdog::Call outer(w.watchdog, "an outer call");
  { const Watchdog::Call inner(w.watchdog, "an inner call"); }
  CHECK(ended_within(std::chrono::seconds(20)));
}

TEST_CASE("a process that was stopped gets the rest of its deadline") {
  Watched w(milliseconds(2000));
  const Watchdog::Call call(w.watchdog, "a call across a stop");
  const pid_t child = fork();
  if (child == 0) {  // wakes its parent, which cannot do that itself
    std::this_thread::sleep_for(milliseconds(2500));
    kill(getppid(), SIGCONT);
    _exit(0);
  }
  raise(SIGSTOP);
  std::this_thread::sleep_for(milliseconds(100));
  CHECK(times_ended == 0);
  CHECK(waitpid(child, nullptr, 0) == child);
}
