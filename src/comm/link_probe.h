#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "comm/collective.h"
#include "device/device.h"

namespace trireme {

struct LinkFigures {
  double latency_us = 0;  // one way
  double gbps = 0;        // 10^9 bytes/s
};

// How much a probe does. A figure is that of the fastest of a few samples, for what else runs on a machine only slows.
struct ProbeEffort {
  size_t bytes = 0;                     // of a large message
  int round_trips = 0, messages = 0;    // of a sample, of small messages and of large ones
  int samples = 0;                      // at most; at least one, beside one that only warms up
  std::chrono::milliseconds budget{0};  // no further sample begins after it
};

// Latency and bandwidth between two ranks. Both make one and call the same, each for its own side; the lower rank's
// clock counts, and bandwidth is from it to the other. Waits have the Waiter's deadline. It stays until both are known
// to be through, by a barrier: the last message may be on its way out.
class LinkProbe {
 public:
  LinkProbe(Fabric& fabric, int me, int peer, const ProbeEffort& effort);

  // Between the hosts' memories, as channels carry it.
  LinkFigures through_host();
  const char* transport() const { return sender_->transport(); }
  // Between the devices' memories: copies that the higher rank's device makes of the lower one's memory, latency that
  // of a small one for which the host waits. Nothing where it does not reach that memory, or reaches other. The ranks
  // share a host.
  std::optional<LinkFigures> through_devices(Device& device);

 private:
  bool agreed(bool goes_on);
  void ping_pong();
  void stream();

  bool first_;
  ProbeEffort effort_;
  std::unique_ptr<Sender> sender_;
  std::unique_ptr<Receiver> receiver_;
  std::vector<std::byte> data_;
};

}  // namespace trireme
