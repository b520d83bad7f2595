#include "job/signs_of_life.h"

#include "base/error.h"

namespace trireme {

namespace {

constexpr std::chrono::milliseconds kEvery{1000};

}  // namespace

SignsOfLife::SignsOfLife(Transport& transport, const std::vector<int>& peers, std::chrono::milliseconds deadline)
    : transport_(transport), deadline_(deadline), every_(std::min(kEvery, deadline / 4)), sent_(Clock::now() - every_) {
  for (int peer : peers) peers_.emplace(peer, Peer{patience()});
}

// It looks once a step, which may last long.
Patience SignsOfLife::patience() const { return Patience(deadline_, Clock::now(), deadline_); }

void SignsOfLife::send(bool last, int64_t positions) {
  WireWriter message;
  message.put(static_cast<uint8_t>(last));
  message.put(positions);
  for (const auto& [rank, peer] : peers_) transport_.send(rank, kAliveTag, message.data());
  sent_ = Clock::now();
}

void SignsOfLife::exchange(int64_t positions) {
  if (peers_.empty()) return;
  while (auto message = transport_.try_receive(kAliveTag)) {
    WireReader wire(message->data);
    const bool last = wire.get_flag();
    const auto theirs = wire.get<int64_t>();
    wire.finish();
    if (last)
      peers_.erase(message->from);
    else
      peers_.insert_or_assign(message->from, Peer{patience(), theirs});
  }
  const Clock::time_point now = Clock::now();
  if (now - sent_ >= every_) send(false, positions);
  for (auto& [rank, peer] : peers_)
    if (peer.silence.over(now))
      fail(ExitCode::rank_lost,
           "rank {}, which leads a replica or deals the documents, gave no sign of life for {:.0f} s; it is lost, "
           "stopped or cut off: see its log, then run again",
           rank, std::chrono::duration<double>(deadline_).count());
}

int64_t SignsOfLife::positions_elsewhere() const {
  int64_t sum = 0;
  for (const auto& [rank, peer] : peers_) sum += peer.positions;
  return sum;
}

void SignsOfLife::leave() {
  send(true, 0);
  peers_.clear();
}

}  // namespace trireme
