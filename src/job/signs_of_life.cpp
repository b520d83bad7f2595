#include "job/signs_of_life.h"

#include "base/error.h"

namespace trireme {

namespace {

constexpr std::chrono::seconds kEvery{1};

}  // namespace

SignsOfLife::SignsOfLife(Transport& transport, const std::vector<int>& peers, std::chrono::milliseconds deadline)
    : transport_(transport), deadline_(deadline), sent_(Clock::now() - kEvery) {
  for (int peer : peers) heard_[peer] = Clock::now();
}

void SignsOfLife::send(bool last) {
  WireWriter message;
  message.put(static_cast<uint8_t>(last));
  for (const auto& [peer, heard] : heard_) transport_.send(peer, kAliveTag, message.data());
  sent_ = Clock::now();
}

void SignsOfLife::exchange() {
  if (heard_.empty()) return;
  while (auto message = transport_.try_receive(kAliveTag)) {
    WireReader wire(message->data);
    const bool last = wire.get_flag();
    wire.finish();
    if (last)
      heard_.erase(message->from);
    else
      heard_[message->from] = Clock::now();
  }
  const Clock::time_point now = Clock::now();
  if (now - sent_ >= kEvery) send(false);
  for (const auto& [peer, heard] : heard_)
    if (now - heard > deadline_)
      fail(ExitCode::stuck,
           "rank {}, which leads a replica or deals the documents, gave no sign of life for {:.0f} s; it is lost, "
           "stopped or cut off: see its log, then run again",
           peer, std::chrono::duration<double>(deadline_).count());
}

void SignsOfLife::leave() {
  send(true);
  heard_.clear();
}

}  // namespace trireme
