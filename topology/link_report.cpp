#include "topology/link_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "topology/threads.h"

namespace trireme {

namespace {

// A link is an outlier when it is so many times slower than the median of at least so many. A latency that is longer
// by less than the slack is none: cores of one socket differ by that much, and two sums a layer hardly wait for it.
constexpr double kOutlier = 4, kSlackUs = 5;
constexpr size_t kEnoughForMedian = 3;

// What a sound link keeps, far from what a good one reaches.
struct Floor {
  double latency_us, gbps;
  const char* check;
};

// Shared memory between pinned ranks: 0.2 to 0.9 us and 1.7 GB/s or more were measured on two cores of a busy virtual
// machine, 2 to 8 us where ranks had to share a core.
constexpr Floor kSharedMemory{10, 1,
                              "look for other programs on their CPUs (top), and for CPUs whose clock is held down"};
// Between hosts: TCP on virtual Ethernet took 8 to 70 us, and Ethernet of 1 Gbit/s carries 0.12 GB/s.
constexpr Floor kNetwork{200, 0.1,
                         "see which adapter is taken (UCX_NET_DEVICES, UCX_TLS), its rate, and the switch between"};
// Copies between GPUs. The host launches one and waits in some 10 us.
constexpr double kCopyUs = 200;
// NVSwitch gives 150 (V100) to 900 GB/s (B200) one way; PCIe 5.0 x16 at most 64.
constexpr Floor kNvSwitch{kCopyUs, 80, "see nvidia-smi nvlink -s and nvidia-smi topo -m, and the fabric manager"};
// One NVLink gives 20 (P100) to 50 GB/s (B200) one way.
constexpr Floor kNvLink{kCopyUs, 15, "see nvidia-smi nvlink -s and nvidia-smi topo -m"};
// PCIe 3.0 x16 gives 15.75 GB/s, copies some 12: half of that is a link that came up with fewer lanes.
constexpr Floor kPcie{kCopyUs, 6,
                      "see lspci -vv (LnkSta: speed and width), and whether ACS or an IOMMU sends peers by the root"};
// Past the root complex, or by sockets.
constexpr Floor kFarPcie{kCopyUs, 2, "see nvidia-smi topo -m, and lspci -vv (LnkSta: speed and width)"};

const Floor& floor_of(const MeasuredLink& link, LinkClass of) {
  if (link.transport == "shm") return kSharedMemory;
  if (link.transport != kPeerCopies) return kNetwork;
  switch (of) {
    case LinkClass::nvswitch:
      return kNvSwitch;
    case LinkClass::nvlink:
      return kNvLink;
    case LinkClass::pcie:
      return kPcie;
    default:
      return kFarPcie;
  }
}

std::string name_of(const MeasuredLink& link) { return fmt::format("ranks {}-{}", link.from, link.to); }

// Links of one class that were measured in one way.
struct Kind {
  LinkClass link;
  std::string transport;
  auto operator<=>(const Kind&) const = default;
};

std::string kind_text(const Kind& kind) { return fmt::format("{}, {}", link_class_name(kind.link), kind.transport); }

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// How many times worse than it may be; above 1: slow.
double excess(const MeasuredLink& link, double most_us, double least_gbps) {
  return std::max(link.latency_us / most_us, least_gbps / link.gbps);
}

// "" where all are as they should be.
std::string remark_of(const Kind& kind, const std::vector<const MeasuredLink*>& all) {
  std::vector<double> latencies, rates;
  for (const MeasuredLink* link : all) latencies.push_back(link->latency_us), rates.push_back(link->gbps);
  const double usual_us = median(latencies), usual_gbps = median(rates);
  const Floor& floor = floor_of(*all.front(), kind.link);
  double most_us = floor.latency_us, least_gbps = floor.gbps;
  if (all.size() >= kEnoughForMedian) {
    most_us = std::min(most_us, kOutlier * usual_us + kSlackUs);
    least_gbps = std::max(least_gbps, usual_gbps / kOutlier);
  }
  const auto by = [&](const MeasuredLink* link) { return excess(*link, most_us, least_gbps); };
  const auto slow = std::count_if(all.begin(), all.end(), [&](const MeasuredLink* link) { return by(link) > 1; });
  if (slow == 0) return "";
  const MeasuredLink& worst = **std::max_element(
      all.begin(), all.end(), [&](const MeasuredLink* a, const MeasuredLink* b) { return by(a) < by(b); });
  return fmt::format(
      "{} of {} measured links over {} {} slow: {} at worst with {:.1f} us and {:.1f} GB/s, the median is {:.1f} us "
      "and {:.1f} GB/s, and at most {:.1f} us and at least {:.1f} GB/s are expected; {}",
      slow, all.size(), kind_text(kind), slow == 1 ? "is" : "are", name_of(worst), worst.latency_us, worst.gbps,
      usual_us, usual_gbps, most_us, least_gbps, floor.check);
}

// GPUs between which the map sees a way, and whose ranks share a host's memory: the copies were tried first.
bool should_be_copies(const Machine& machine, const MeasuredLink& link, LinkClass of) {
  return machine.gpu_of_rank(link.from) && of < LinkClass::staged && link.transport == "shm";
}

std::string closed_remark(const std::vector<const MeasuredLink*>& closed, LinkClass of) {
  return fmt::format(
      "the GPUs of {} do not open each other's memory ({} such pairs), though the map says {}: what passes between "
      "them goes by the host's memory unless NCCL finds a way; containers need one IPC namespace (--ipc=host), and "
      "nvidia-smi topo -p2p r says what the driver allows",
      name_of(*closed.front()), closed.size(), link_class_name(of));
}

// [ranks] those that have CPUs of their own, and a GPU that is known, if any.
std::vector<bool> ranks_to_judge(const Machine& machine, int threads) {
  std::vector<bool> judged(machine.ranks.size());
  for (int host = 0; host < std::ssize(machine.hosts); host++) {
    const std::vector<int> here = machine.ranks_on(host);
    const std::vector<ThreadPlan> plans = thread_plans(machine, host, threads);
    for (size_t i = 0; i < here.size(); i++) {
      const bool known = machine.ranks[static_cast<size_t>(here[i])].gpu.empty() || machine.gpu_of_rank(here[i]);
      judged[static_cast<size_t>(here[i])] = known && !plans[i].cpus.empty();
    }
  }
  return judged;
}

}  // namespace

std::string worst_text(const Machine& machine, const Links& links,
                       const std::function<bool(const MeasuredLink&)>& counts) {
  const MeasuredLink *latest = nullptr, *narrowest = nullptr;
  for (const MeasuredLink& link : machine.measured_links) {
    if (!counts(link)) continue;
    if (!latest || link.latency_us > latest->latency_us) latest = &link;
    if (!narrowest || link.gbps < narrowest->gbps) narrowest = &link;
  }
  if (!latest) return "";
  const auto where = [&](const MeasuredLink& link) {
    return fmt::format("({}, {})", name_of(link), kind_text({links.between(link.from, link.to), link.transport}));
  };
  return latest == narrowest
             ? fmt::format("{:.1f} us and {:.1f} GB/s at worst {}", latest->latency_us, latest->gbps, where(*latest))
             : fmt::format("{:.1f} us {} and {:.1f} GB/s {} at worst", latest->latency_us, where(*latest),
                           narrowest->gbps, where(*narrowest));
}

std::string links_text(const Machine& machine, const Links& links, const Layout& layout) {
  const auto in_group = [&](const MeasuredLink& link) {
    return layout.at[static_cast<size_t>(link.from)].pp == layout.at[static_cast<size_t>(link.to)].pp;
  };
  std::vector<std::string> parts;
  if (const std::string tp = worst_text(machine, links, in_group); !tp.empty()) parts.push_back("tp " + tp);
  if (const std::string hops = worst_text(machine, links, std::not_fn(in_group)); !hops.empty())
    parts.push_back("hops " + hops);
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::vector<std::string> slow_links(const Machine& machine, const Links& links, int threads) {
  const std::vector<bool> judged = ranks_to_judge(machine, threads);
  std::map<Kind, std::vector<const MeasuredLink*>> kinds;
  std::map<LinkClass, std::vector<const MeasuredLink*>> closed;
  for (const MeasuredLink& link : machine.measured_links) {
    const LinkClass of = links.between(link.from, link.to);
    if (of == LinkClass::device || !judged[static_cast<size_t>(link.from)] || !judged[static_cast<size_t>(link.to)])
      continue;
    if (should_be_copies(machine, link, of))
      closed[of].push_back(&link);
    else
      kinds[{of, link.transport}].push_back(&link);
  }
  std::vector<std::string> remarks;
  for (const auto& [of, all] : closed) remarks.push_back(closed_remark(all, of));
  for (const auto& [kind, all] : kinds)
    if (std::string remark = remark_of(kind, all); !remark.empty()) remarks.push_back(std::move(remark));
  return remarks;
}

}  // namespace trireme
