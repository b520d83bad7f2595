#pragma once

#include "base/buffer.h"
#include "comm/collective.h"
#include "comm/nccl_communicator.h"

namespace trireme {

// The sending end of a hop from GPU to GPU. A message is copied into a slot on the device's own stream, and leaves the
// slot on the lane, while the device is at the next step already.
class NcclSender final : public Sender {
 public:
  // A message leaves while the next step computes; the step after that needs the slot again.
  static constexpr int kSlots = 2;

  // link: of two members, the receiver second; kSlots marks.
  NcclSender(std::unique_ptr<NcclCommunicator> link, CudaDevice& gpu, size_t slot_bytes);
  void send(std::span<const std::byte> message) override;
  const char* transport() const override { return "NCCL"; }

 private:
  CudaDevice& gpu_;
  Buffer slots_;  // [kSlots][slot_bytes]
  size_t slot_bytes_;
  uint64_t sent_ = 0;
  std::unique_ptr<NcclCommunicator> link_;  // goes first: it may still read the slots
};

// The receiving end. A message that is expected arrives in the slot while the device still computes the step before.
class NcclReceiver final : public Receiver {
 public:
  static constexpr int kSlots = 1;

  // link: of two members, the sender first; kSlots marks.
  NcclReceiver(std::unique_ptr<NcclCommunicator> link, CudaDevice& gpu, size_t slot_bytes);
  void expect(size_t bytes) override;
  void receive(std::span<std::byte> message) override;

 private:
  CudaDevice& gpu_;
  Buffer slot_;  // [slot_bytes]
  uint64_t received_ = 0;
  bool expected_ = false;
  std::unique_ptr<NcclCommunicator> link_;  // goes first: it may still write the slot
};

}  // namespace trireme
