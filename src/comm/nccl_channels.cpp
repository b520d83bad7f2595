#include "comm/nccl_channels.h"

#include "base/error.h"

namespace trireme {

NcclSender::NcclSender(std::unique_ptr<NcclCommunicator> link, CudaDevice& gpu, size_t slot_bytes)
    : gpu_(gpu),
      slots_(gpu.allocate(kSlots * slot_bytes, "messages to the next stage")),
      slot_bytes_(slot_bytes),
      link_(std::move(link)) {}

void NcclSender::send(std::span<const std::byte> message) {
  must(message.size() <= slot_bytes_, "a message fits a slot of its channel");
  const int slot = static_cast<int>(sent_ % kSlots);
  if (sent_ >= kSlots)
    link_->wait(slot, [&] { return fmt::format("message {} to be taken by the next stage (NCCL)", sent_ - kSlots); });
  std::byte* data = slots_.data() + static_cast<size_t>(slot) * slot_bytes_;
  gpu_.copy(data, message.data(), message.size());
  link_->follow();
  const NcclCommunicator::Move move{data, message.size(), 1, true};
  link_->start({&move, 1}, slot);
  sent_++;
}

NcclReceiver::NcclReceiver(std::unique_ptr<NcclCommunicator> link, CudaDevice& gpu, size_t slot_bytes)
    : gpu_(gpu), slot_(gpu.allocate(slot_bytes, "messages of the stage before")), link_(std::move(link)) {
  link_->follow();
}

void NcclReceiver::expect(size_t bytes) {
  must(!expected_ && bytes <= slot_.bytes(), "one message is expected at a time, and fits the slot");
  const NcclCommunicator::Move move{slot_.data(), bytes, 0, false};
  link_->start({&move, 1}, 0);
  expected_ = true;
}

// The host waits, not the device's stream: that never waits for another rank. The slot is free for the next message as
// soon as it is copied, which is why the lane follows now and not when that is expected.
void NcclReceiver::receive(std::span<std::byte> message) {
  if (!expected_) expect(message.size());
  link_->wait(0, [&] { return fmt::format("message {} of the stage before (NCCL)", received_); });
  gpu_.copy(message.data(), slot_.data(), message.size());
  link_->follow();
  expected_ = false;
  received_++;
}

}  // namespace trireme
