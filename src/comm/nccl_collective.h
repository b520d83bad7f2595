#pragma once

#include "base/buffer.h"
#include "comm/collective.h"
#include "comm/nccl_communicator.h"

namespace trireme {

// The tensor-parallel group of GPUs that cannot open each other's memory: windows and mirrors of the others' in GPU
// memory, pieces from window to mirror by NCCL. The host may not look into them.
class NcclCollective final : public Collective {
 public:
  static constexpr int kMarks = 1;

  // group: kMarks marks and any more for others; its members are the group's ranks in order.
  NcclCollective(std::shared_ptr<NcclCommunicator> group, CudaDevice& gpu, size_t window_bytes);

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  size_t window_bytes() const override { return window_bytes_; }
  std::byte* window() override { return window_of(rank(), exchange_ + 1); }
  const std::byte* shown(int r) const override { return window_of(r, exchange_); }
  bool is_operation() const override { return false; }
  void even_out() override {}
  void place_windows(Device&) override {}
  void pin_windows(Device&) override {}
  bool on_device() const override { return true; }
  const char* transport() const override { return "NCCL"; }

 private:
  void do_exchange(std::span<const Piece> to, std::span<const Piece> from) override;
  void add(const Piece& piece, int r, bool send);
  std::byte* window_of(int r, uint32_t exchange) const;

  CudaDevice& gpu_;
  size_t window_bytes_, stride_;               // of a window, and from one to the next
  Buffer windows_;                             // [size][2][stride]
  std::vector<NcclCommunicator::Move> moves_;  // of an exchange
  uint32_t exchange_ = 0;                      // number of the last one; windows alternate with it
  std::shared_ptr<NcclCommunicator> group_;    // goes first: it may still read and write windows
};

}  // namespace trireme
