#pragma once

#include <memory>
#include <string>

#include "comm/collective.h"

namespace trireme {

// Ends of a channel for a device's memory, by way of page-locked memory of the host.
class StagedSender final : public Sender {
 public:
  StagedSender(std::unique_ptr<Sender> sender, Device& device, size_t slot_bytes)
      : sender_(std::move(sender)),
        device_(device),
        stage_(device.allocate_pinned(slot_bytes, "messages between stages")),
        transport_(std::string(sender_->transport()) + " by the host") {}

  void send(std::span<const std::byte> message) override {
    device_.copy(stage_.data(), message.data(), message.size());
    device_.synchronize();
    sender_->send({stage_.data(), message.size()});
  }
  const char* transport() const override { return transport_.c_str(); }

 private:
  std::unique_ptr<Sender> sender_;
  Device& device_;
  Buffer stage_;
  std::string transport_;
};

class StagedReceiver final : public Receiver {
 public:
  StagedReceiver(std::unique_ptr<Receiver> receiver, Device& device, size_t slot_bytes)
      : receiver_(std::move(receiver)),
        device_(device),
        stage_(device.allocate_pinned(slot_bytes, "messages between stages")) {}

  void receive(std::span<std::byte> message) override {
    receiver_->receive({stage_.data(), message.size()});
    device_.copy(message.data(), stage_.data(), message.size());
  }

 private:
  std::unique_ptr<Receiver> receiver_;
  Device& device_;
  Buffer stage_;
};

}  // namespace trireme
