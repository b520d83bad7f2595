#pragma once

#include "comm/communicator.h"
#include "job/dealer.h"

namespace trireme {

// Dealing over the control plane of the job: `to` and `from` are ranks of the communicator, rank 0 is the dealer.
class CommTransport : public Transport {
 public:
  explicit CommTransport(Communicator& communicator) : communicator_(communicator) {}
  void send(int to, int tag, std::span<const std::byte> data) override { communicator_.send(to, tag, data); }
  std::optional<Message> try_receive(int tag) override {
    auto message = communicator_.try_receive(tag);
    if (!message) return std::nullopt;
    return Message{message->from, std::move(message->data)};
  }

 private:
  Communicator& communicator_;
};

}  // namespace trireme
