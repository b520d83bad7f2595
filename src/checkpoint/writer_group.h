#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/bounded_call.h"
#include "comm/communicator.h"

namespace trireme {

// The ranks that write one file together; MPI must be initialized (MpiSession). Moves only. All calls but rank() and
// size() are collective, and none waits for ever.
class WriterGroup {
 public:
  // deadline: of a wait for other ranks, two hours at least.
  static WriterGroup world(std::chrono::milliseconds deadline = {}) { return {Communicator::world, deadline}; }
  static WriterGroup self() { return {Communicator::self, {}}; }  // this rank alone

  int rank() const { return comm_.rank(); }
  int size() const { return comm_.size(); }
  // Ranks fail together: runs `work` on this rank; when it throws on any rank, all throw the lowest such rank's error.
  void agree(const std::function<void()>& work) const;
  int64_t broadcast(int64_t value) const { return comm_.all_sum(rank() == 0 ? value : 0); }  // rank 0's
  int64_t sum(int64_t mine) const { return comm_.all_sum(mine); }
  void combine(std::span<uint64_t> words) const { comm_.all_or(words); }  // bitwise or, in place on every rank
  bool has_alike(uint64_t digest) const;                                  // whether it is the same on all ranks
  void* handle() const { return comm_.handle(); }                         // the MPI_Comm, for HDF5
  // HDF5's collective calls cannot be polled: keep what this returns while they run.
  BoundedCall bounded(const char* what) const { return {what, waiter_->deadline(), waiter_->end()}; }

 private:
  WriterGroup(Communicator (*make)(Waiter&), std::chrono::milliseconds deadline);
  std::unique_ptr<Waiter> waiter_;
  Communicator comm_;
};

}  // namespace trireme
