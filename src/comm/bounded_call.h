#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace trireme {

// While it lives, its rank is inside a library call that waits for other ranks and that nobody can poll (MPI_Init,
// MPI_Finalize, MPI_Comm_split, HDF5's collective calls). A thread of its own holds the clock: when the deadline passes
// it says so in one line and ends the job through `end`, from which nothing returns.
class BoundedCall {
 public:
  using End = void (*)(int exit_code);
  // what: "all ranks in MPI_Finalize". end: MpiSession::abort where MPI is up, std::_Exit where it is not.
  BoundedCall(std::string what, std::chrono::milliseconds deadline, End end);
  ~BoundedCall();
  BoundedCall(const BoundedCall&) = delete;
  BoundedCall& operator=(const BoundedCall&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool returned_ = false;
  std::thread clock_;
};

}  // namespace trireme
