#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"

namespace trireme {

// While it lives, its rank is inside a library call that may wait and that nobody can poll: for other ranks (MPI_Init,
// MPI_Finalize, MPI_Comm_split, HDF5's collective calls), or for a driver. A thread of its own holds the clock: when
// the deadline passes it says so in one line and ends the job through `end`, from which nothing returns.
class BoundedCall {
 public:
  using End = void (*)(int exit_code);
  // what: "all ranks in MPI_Finalize". end: MpiSession::abort where MPI is up, std::_Exit where it is not. fault: what
  // it is when the deadline passes.
  BoundedCall(std::string what, std::chrono::milliseconds deadline, End end, ExitCode code = ExitCode::rank_lost,
              const char* fault = "a rank is lost or stuck");
  ~BoundedCall();
  BoundedCall(const BoundedCall&) = delete;
  BoundedCall& operator=(const BoundedCall&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool returned_ = false;
  std::thread clock_;
};

// For a call without which the job can go on, or end in its own words: makes it on a thread that is left behind when it
// does not come back. Whether it came back.
bool came_back(std::chrono::milliseconds limit, std::function<void()> call);

}  // namespace trireme
