#include "launch/handshake.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "comm/link_probe.h"
#include "launch/environment.h"
#include "launch/together.h"
#include "topology/adapters.h"
#include "topology/link_report.h"
#include "topology/link_rounds.h"
#include "topology/placement_text.h"

namespace trireme {

namespace {

// Activations of a chunk of a prompt; a few milliseconds in all where the link is sound.
constexpr ProbeEffort kEffort{
    .bytes = size_t{256} << 10, .round_trips = 10, .messages = 4, .samples = 5, .budget = std::chrono::milliseconds(2)};
constexpr int kPatience = 4;  // deadlines that ranks wait for a pair: its two channels, its first message; and one

// A MeasuredLink as it travels.
struct LinkOnWire {
  int32_t from, to;
  double latency_us, gbps;
  char transport[16];
};

MeasuredLink measure_link(LinkProbe& probe, const RankPair& pair, Device* gpu) {
  if (gpu)
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

// A round ends when all are through, or have failed, together.
std::vector<MeasuredLink> measure_links(Communicator& world, Fabric& fabric, const Layout& layout, Device* gpu,
                                        std::chrono::milliseconds deadline) {
  const TemporaryDeadline others(world.waiter(), kPatience * deadline);
  std::vector<MeasuredLink> mine;
  for (const std::vector<RankPair>& round : link_rounds(layout)) {
    std::optional<LinkProbe> probe;
    together(world, [&] {
      const auto pair = std::find_if(round.begin(), round.end(), [&](const RankPair& p) {
        return p.low == world.rank() || p.high == world.rank();
      });
      if (pair == round.end()) return;
      const int peer = pair->low == world.rank() ? pair->high : pair->low;
      const TemporaryDeadline own(world.waiter(), deadline);
      probe.emplace(fabric, world.rank(), peer, kEffort);
      MeasuredLink link = measure_link(*probe, *pair, fabric.shares_memory(peer) ? gpu : nullptr);
      if (link.from == world.rank()) mine.push_back(std::move(link));
    });
  }
  return share(world, mine);
}

// [ranks] "NAME=value", "" for none.
std::vector<std::string> gather_entries(const Communicator& world, const std::string& name) {
  const std::optional<std::string> value = Environment::read().find(name);
  const std::string mine = value ? name + "=" + *value : "";
  std::vector<std::string> entries;
  for (const auto& bytes : world.all_gather(std::as_bytes(std::span(mine))))
    entries.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return entries;
}

}  // namespace

void check_adapters(const Communicator& world, const Options& options, bool on_gpu, const Machine& machine,
                    const Links& links, Layout& layout) {
  const bool by_nccl = on_gpu && options.nccl != "off";
  const std::vector<std::string> choices = gather_entries(world, by_nccl ? "NCCL_IB_HCA" : "UCX_NET_DEVICES");
  for (std::string& remark : wrong_adapters(machine, links, layout, static_cast<int>(options.threads), choices)) {
    if (!options.allow_slow_placement)
      fail(ExitCode::configuration, "{}; name the near one, leave the variable out, or give --allow-slow-placement",
           remark);
    layout.remarks.push_back(std::move(remark));
  }
}

void prove_links(Communicator& world, Fabric& fabric, const Options& options, Device* gpu, const Layout& layout,
                 Machine& machine, Log& log) {
  const std::chrono::milliseconds deadline = options.deadline();
  for (const std::string& remark : layout.remarks) log.info("{}", remark);
  machine.measured_links = measure_links(world, fabric, layout, gpu, deadline);
  if (world.rank() != 0) return;
  const int threads = static_cast<int>(options.threads);
  const Links links(machine, threads);
  if (options.print_placement) fmt::print(stderr, "{}", placement_text(machine, links, layout, threads));
  if (machine.measured_links.empty()) return;
  log.info("links: {}", links_text(machine, links, layout));
  for (const std::string& remark : slow_links(machine, links, threads)) log.warn("{}", remark);
}

}  // namespace trireme
