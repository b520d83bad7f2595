#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/nccl.h"
#include "device/cuda.h"

namespace trireme {

// Ranks that move bytes from GPU to GPU by NCCL, each on a chip of its own. Its operations run on a lane of this rank's
// GPU, so that only the lane ever waits for another rank; the host waits with the Waiter's deadline, and every wait
// asks NCCL for faults. Throws Error(rank_lost) when it has one; then, or when the job fails otherwise, it is aborted.
class NcclCommunicator {
 public:
  // Collective over `members`, ranks of `ranks` in the order of the group. marks: of the lane. All members connect to
  // all here and show that bytes arrive as they left. Throws Error(configuration) when NCCL does not start.
  NcclCommunicator(const Nccl& nccl, Communicator& ranks, std::span<const int> members, CudaDevice& gpu, int marks);
  ~NcclCommunicator();  // waits for what is under way, 10 s at most, unless the job is failing
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(members_.size()); }
  Waiter& waiter() const { return ranks_.waiter(); }
  // By which of NCCL's transports this rank reaches the others: "P2P/IPC", "NET/IB/GDRDMA", "unknown".
  const std::string& transport() const { return transport_; }

  // Bytes of GPU memory from or to a member of the group.
  struct Move {
    std::byte* data;
    size_t bytes;
    int peer;
    bool send;  // else receive
  };
  // Enqueues moves, which go on together, on the lane and marks their end. The other members enqueue theirs.
  void start(std::span<const Move> moves, int mark);
  // data[0, count) = its sum over the members, in an order of NCCL's choice: for --numerics fast alone. Likewise.
  void start_sum(float* data, size_t count, int mark);
  // Enqueued so far on the device comes before what is started next.
  void follow() { lane_->follow(); }
  // What is enqueued next on the device comes after all before the mark.
  void lead(int mark) { lane_->lead(mark); }
  bool done(int mark);  // lets the lane get on; throws what NCCL has to say
  void ask();           // throws that alone
  // Until all before the mark is done. what: as Waiter::until() takes it.
  template <typename What>
  void wait(int mark, const What& what) {
    waiter().until([&] { return done(mark); }, what);
  }

  std::string group_text() const;  // "the group of world ranks 0, 1"

 private:
  void connect();
  void settle(const char* what);
  void check(int code, const char* what) const;
  void leave();

  const Nccl& nccl_;
  Communicator& ranks_;
  std::vector<int> members_;
  CudaDevice& gpu_;
  int rank_ = 0;
  Nccl::Comm comm_ = nullptr;
  std::unique_ptr<Lane> lane_;
  std::string transport_ = "unknown";
  bool connected_ = false;
  int newest_ = -1;  // mark that may not be passed yet; -1: none
  size_t progress_ = 0;
};

}  // namespace trireme
