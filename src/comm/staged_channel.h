#pragma once

#include <memory>
#include <string>

#include "comm/collective.h"

namespace trireme {

// A channel for a device's memory, by way of page-locked memory of the host.
class StagedChannel final : public Channel {
 public:
  StagedChannel(std::unique_ptr<Channel> channel, Device& device, size_t slot_bytes)
      : channel_(std::move(channel)),
        device_(device),
        stage_(device.allocate_pinned(slot_bytes, "messages between stages")),
        transport_(std::string(channel_->transport()) + " by the host") {}

  void send(std::span<const std::byte> message) override {
    device_.copy(stage_.data(), message.data(), message.size());
    device_.synchronize();
    channel_->send({stage_.data(), message.size()});
  }
  void receive(std::span<std::byte> message) override {
    channel_->receive({stage_.data(), message.size()});
    device_.copy(message.data(), stage_.data(), message.size());
  }
  const char* transport() const override { return transport_.c_str(); }

 private:
  std::unique_ptr<Channel> channel_;
  Device& device_;
  Buffer stage_;
  std::string transport_;
};

}  // namespace trireme
