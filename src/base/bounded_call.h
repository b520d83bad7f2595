#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"

namespace trireme {

// Watches one thread's library calls that may wait and that nobody can poll: for other ranks, or for a driver. A thread
// of its own looks four times a deadline, once a second at least; when a call has lasted longer than the deadline, it
// says so in one line and ends the job through `end`, from which nothing returns. Time in which this process was
// stopped counts little (Patience). A call costs three stores.
class Watchdog {
 public:
  // said: the line that stands on stderr.
  using End = std::function<void(int exit_code, const std::string& said)>;
  static void end_here(int exit_code, const std::string&) { std::_Exit(exit_code); }
  // whom: who is asked, "" or "GPU 0 (NVIDIA H200, sm_90), asked for ". end: MpiSession::abort where MPI is up,
  // end_here where it is not. fault: what it is when the deadline passes.
  Watchdog(std::string whom, std::chrono::milliseconds deadline, End end, ExitCode code, const char* fault);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // While it lives, its thread is inside such a call. One inside another counts as part of it. what: outlives it.
  class Call {
   public:
    Call(Watchdog& watchdog, const char* what);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    Watchdog* watchdog_ = nullptr;  // null inside another call
  };

 private:
  void pass();
  void watch();
  void bark(const char* what) const;

  const std::string whom_;
  const std::chrono::milliseconds deadline_;
  const End end_;
  const ExitCode code_;
  const char* const fault_;
  std::atomic<uint64_t> passages_ = 0;  // into calls and out of them: odd inside one
  std::atomic<const char*> what_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread clock_;
};

// One such call by itself: MPI_Init, MPI_Finalize, MPI_Comm_split, HDF5's collective calls, a GPU's first.
class BoundedCall {
 public:
  using End = Watchdog::End;
  // what: "all ranks in MPI_Finalize"; outlives it.
  BoundedCall(const char* what, std::chrono::milliseconds deadline, End end, ExitCode code = ExitCode::rank_lost,
              const char* fault = "a rank is lost or stuck")
      : watchdog_("", deadline, end, code, fault), call_(watchdog_, what) {}

 private:
  Watchdog watchdog_;
  Watchdog::Call call_;
};

// For a call without which the job can go on, or end in its own words: makes it on a thread that is left behind when it
// does not come back. Whether it came back.
bool came_back(std::chrono::milliseconds limit, std::function<void()> call);

}  // namespace trireme
