#pragma once

#include <atomic>
#include <vector>

#include "base/buffer.h"
#include "comm/collective.h"
#include "comm/shared_window.h"
#include "comm/ucx.h"

namespace trireme {

// A ring of slots in shared memory, written by one rank and read by another. Counts of messages only grow; a slot is
// full while sent - received covers it.
struct SharedRing {
  alignas(64) std::atomic<uint64_t> sent{0};
  alignas(64) std::atomic<uint64_t> received{0};

  struct Slot {
    uint64_t bytes;  // of the message that follows on the next cache line
  };
  static constexpr size_t kSlotHeader = 64;
  static size_t slot_stride(size_t slot_bytes) { return kSlotHeader + (slot_bytes + 63) / 64 * 64; }
  static size_t bytes(size_t slot_bytes, int slots) {
    return sizeof(SharedRing) + static_cast<size_t>(slots) * slot_stride(slot_bytes);
  }
};
static_assert(sizeof(SharedRing) == 128);

// Either end of a channel in shared memory.
class SharedChannel final : public Sender, public Receiver {
 public:
  SharedChannel(SharedWindow window, int peer, size_t slot_bytes, int slots, Waiter& waiter)
      : window_(std::move(window)),
        ring_(reinterpret_cast<SharedRing*>(window_.data())),
        peer_(peer),
        slot_bytes_(slot_bytes),
        slots_(static_cast<uint64_t>(slots)),
        waiter_(waiter) {}
  void send(std::span<const std::byte> message) override;
  void receive(std::span<std::byte> message) override;
  const char* transport() const override { return "shm"; }

 private:
  std::byte* slot(uint64_t message) const {
    return window_.data() + sizeof(SharedRing) + message % slots_ * SharedRing::slot_stride(slot_bytes_);
  }
  SharedWindow window_;
  SharedRing* ring_;
  int peer_;
  size_t slot_bytes_;
  uint64_t slots_;
  Waiter& waiter_;
};

// The sending end over UCX. The receiver answers each message with an empty one (a credit), so that no more than
// `slots` messages ever wait at its side.
class UcxSender final : public Sender {
 public:
  UcxSender(UcxWorker& ucx, int me, int peer, uint32_t stream, size_t slot_bytes, int slots, Waiter& waiter);
  void send(std::span<const std::byte> message) override;
  const char* transport() const override { return "ucx"; }

 private:
  void wait(UcxRequest& request, const char* what);
  UcxWorker& ucx_;
  int me_, peer_;
  uint32_t stream_;
  Buffer copies_;  // [slots][slot_bytes]
  size_t slot_bytes_;
  std::vector<UcxRequest> sends_;  // [slots]
  UcxRequest credit_;
  uint32_t sent_ = 0;
  Waiter& waiter_;
};

// The receiving end over UCX.
class UcxReceiver final : public Receiver {
 public:
  UcxReceiver(UcxWorker& ucx, int me, int peer, uint32_t stream, int slots, Waiter& waiter)
      : ucx_(ucx), me_(me), peer_(peer), stream_(stream), credits_(static_cast<size_t>(slots)), waiter_(waiter) {}
  void receive(std::span<std::byte> message) override;

 private:
  UcxWorker& ucx_;
  int me_, peer_;
  uint32_t stream_;
  UcxRequest message_;
  std::vector<UcxRequest> credits_;  // [slots]
  uint32_t received_ = 0;
  Waiter& waiter_;
};

}  // namespace trireme
