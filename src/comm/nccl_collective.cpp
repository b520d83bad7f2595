#include "comm/nccl_collective.h"

#include "base/error.h"

namespace trireme {

NcclCollective::NcclCollective(std::shared_ptr<NcclCommunicator> group, CudaDevice& gpu, size_t window_bytes)
    : gpu_(gpu),
      window_bytes_(window_bytes),
      stride_((window_bytes + 63) / 64 * 64),
      windows_(gpu.allocate(static_cast<size_t>(group->size()) * 2 * stride_, "the windows of a group")),
      group_(std::move(group)) {
  group_->follow();
}

std::byte* NcclCollective::window_of(int r, uint32_t exchange) const {
  return windows_.data() + (2 * static_cast<size_t>(r) + exchange % 2) * stride_;
}

// The device's operations have written the window and read the mirrors of exchange n - 2; and what leaves my window has
// left it when this returns.
void NcclCollective::do_exchange(std::span<const Piece> to, std::span<const Piece> from) {
  exchange_++;
  gpu_.synchronize();
  moves_.clear();
  for (int r = 0; r < size(); r++) {
    if (r == rank()) continue;
    add(to[static_cast<size_t>(r)], r, true);
    add(from[static_cast<size_t>(r)], r, false);
  }
  group_->start(moves_, 0);
  group_->wait(0, [&] { return fmt::format("exchange {} of a group of {} (NCCL)", exchange_, size()); });
}

void NcclCollective::add(const Piece& piece, int r, bool send) {
  if (piece.bytes == 0) return;
  std::byte* data = window_of(send ? rank() : r, exchange_) + piece.offset;
  for (size_t i = 0; i < piece.count; i++) moves_.push_back({data + i * piece.stride, piece.bytes, r, send});
}

}  // namespace trireme
