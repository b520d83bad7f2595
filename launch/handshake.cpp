#include "launch/handshake.h"

#include <algorithm>
#include <cstring>

#include "comm/link_probe.h"
#include "launch/together.h"
#include "topology/link_rounds.h"

namespace trireme {

namespace {

// A chunk of prompt's activations; a few milliseconds in all where the link is sound.
constexpr ProbeEffort kEffort{
    .bytes = size_t{256} << 10, .round_trips = 10, .messages = 4, .samples = 5, .budget = std::chrono::milliseconds(2)};
constexpr int kPatience = 2;  // deadlines that ranks wait for a pair that waits

// A MeasuredLink as it travels.
struct LinkOnWire {
  int32_t from, to;
  double latency_us, gbps;
  char transport[16];
};

MeasuredLink measure_link(Communicator& world, Fabric& fabric, const RankPair& pair, Device* gpu) {
  const int peer = pair.low == world.rank() ? pair.high : pair.low;
  LinkProbe probe(fabric, world.rank(), peer, kEffort);
  if (gpu && fabric.shares_memory(peer))
    if (const auto figures = probe.through_devices(*gpu))
      return {pair.low, pair.high, figures->latency_us, figures->gbps, kPeerCopies};
  const LinkFigures figures = probe.through_host();
  return {pair.low, pair.high, figures.latency_us, figures.gbps, probe.transport()};
}

std::vector<MeasuredLink> share(const Communicator& world, const std::vector<MeasuredLink>& mine) {
  std::vector<LinkOnWire> wire;
  for (const MeasuredLink& link : mine) {
    LinkOnWire& w = wire.emplace_back(LinkOnWire{link.from, link.to, link.latency_us, link.gbps, ""});
    link.transport.copy(w.transport, sizeof w.transport - 1);
  }
  std::vector<MeasuredLink> all;
  for (const std::vector<std::byte>& bytes : world.all_gather(std::as_bytes(std::span(wire))))
    for (size_t at = 0; at < bytes.size(); at += sizeof(LinkOnWire)) {
      LinkOnWire w;
      std::memcpy(&w, bytes.data() + at, sizeof w);
      all.push_back({w.from, w.to, w.latency_us, w.gbps, w.transport});
    }
  return all;
}

}  // namespace

// A round ends when all are through, or have failed, together.
std::vector<MeasuredLink> measure_links(Communicator& world, Fabric& fabric, const Layout& layout, Device* gpu,
                                        std::chrono::milliseconds deadline) {
  const TemporaryDeadline others(world.waiter(), kPatience * deadline);
  std::vector<MeasuredLink> mine;
  for (const std::vector<RankPair>& round : link_rounds(layout))
    together(world, [&] {
      const auto pair = std::find_if(round.begin(), round.end(), [&](const RankPair& p) {
        return p.low == world.rank() || p.high == world.rank();
      });
      if (pair == round.end()) return;
      const TemporaryDeadline own(world.waiter(), deadline);
      MeasuredLink link = measure_link(world, fabric, *pair, gpu);
      if (link.from == world.rank()) mine.push_back(std::move(link));
    });
  return share(world, mine);
}

std::vector<std::string> gather_adapter_choices(const Communicator& world, const Environment& environment,
                                                bool by_nccl) {
  const std::string name = by_nccl ? "NCCL_IB_HCA" : "UCX_NET_DEVICES";
  const std::optional<std::string> value = environment.find(name);
  const std::string mine = value ? name + "=" + *value : "";
  std::vector<std::string> choices;
  for (const auto& bytes : world.all_gather(std::as_bytes(std::span(mine))))
    choices.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return choices;
}

}  // namespace trireme
