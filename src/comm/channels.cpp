#include "comm/channels.h"

#include <cstring>

#include "base/error.h"

namespace trireme {

void SharedChannel::send(std::span<const std::byte> message) {
  must(message.size() <= slot_bytes_, "a message fits a slot of its channel");
  uint64_t number = ring_->sent.load(std::memory_order_relaxed);
  waiter_.until([&] { return number - ring_->received.load(std::memory_order_acquire) < slots_; },
                [&] { return fmt::format("a free slot for message {} to world rank {} (shm)", number, peer_); });
  reinterpret_cast<SharedRing::Slot*>(slot(number))->bytes = message.size();
  if (!message.empty()) std::memcpy(slot(number) + SharedRing::kSlotHeader, message.data(), message.size());
  ring_->sent.store(number + 1, std::memory_order_release);
}

void SharedChannel::receive(std::span<std::byte> message) {
  uint64_t number = ring_->received.load(std::memory_order_relaxed);
  waiter_.until([&] { return ring_->sent.load(std::memory_order_acquire) > number; },
                [&] { return fmt::format("message {} from world rank {} (shm)", number, peer_); });
  uint64_t bytes = reinterpret_cast<const SharedRing::Slot*>(slot(number))->bytes;
  if (bytes != message.size())
    fail(ExitCode::internal, "message {} of world rank {} has {} bytes, not {}: the ranks disagree about a step",
         number, peer_, bytes, message.size());
  if (!message.empty()) std::memcpy(message.data(), slot(number) + SharedRing::kSlotHeader, message.size());
  ring_->received.store(number + 1, std::memory_order_release);
}

namespace {

// Credits come back under the number the sender gave its messages, in a range of their own.
uint32_t credit_stream(uint32_t stream) { return stream | 0x8000; }

template <typename What>
void wait_done(Waiter& waiter, UcxWorker& ucx, UcxRequest& request, const What& what) {
  waiter.until(
      [&] {
        if (request.done()) return true;
        ucx.progress();
        return false;
      },
      what);
}

}  // namespace

UcxSender::UcxSender(UcxWorker& ucx, int me, int peer, uint32_t stream, size_t slot_bytes, int slots, Waiter& waiter)
    : ucx_(ucx),
      me_(me),
      peer_(peer),
      stream_(stream),
      copies_(static_cast<size_t>(slots) * slot_bytes, "messages to the next stage"),
      slot_bytes_(slot_bytes),
      sends_(static_cast<size_t>(slots)),
      waiter_(waiter) {}

void UcxSender::wait(UcxRequest& request, const char* what) {
  wait_done(waiter_, ucx_, request,
            [&] { return fmt::format("{} of message {} to world rank {} (ucx)", what, sent_, peer_); });
}

void UcxSender::send(std::span<const std::byte> message) {
  must(message.size() <= slot_bytes_, "a message fits a slot of its channel");
  uint32_t slots = static_cast<uint32_t>(sends_.size());
  if (sent_ >= slots) {
    ucx_.receive(credit_, peer_, {peer_, credit_stream(stream_), sent_ - slots}, {});
    wait(credit_, "the credit");
  }
  auto& request = sends_[sent_ % slots];
  wait(request, "a free slot");
  std::byte* copy = copies_.data() + sent_ % slots * slot_bytes_;
  if (!message.empty()) std::memcpy(copy, message.data(), message.size());
  ucx_.send(request, peer_, {me_, stream_, sent_}, {copy, message.size()});
  sent_++;
}

void UcxReceiver::receive(std::span<std::byte> message) {
  auto what = [&] { return fmt::format("message {} from world rank {} (ucx)", received_, peer_); };
  ucx_.receive(message_, peer_, {peer_, stream_, received_}, {message.data(), message.size()});
  wait_done(waiter_, ucx_, message_, what);
  auto& credit = credits_[received_ % credits_.size()];
  wait_done(waiter_, ucx_, credit, what);
  ucx_.send(credit, peer_, {me_, credit_stream(stream_), received_}, {});
  received_++;
}

}  // namespace trireme
