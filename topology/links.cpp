#include "topology/links.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "topology/threads.h"

namespace trireme {

namespace {

// In how many different places two sets lie.
size_t together(const std::vector<int>& a, const std::vector<int>& b) {
  std::set<int> all(a.begin(), a.end());
  all.insert(b.begin(), b.end());
  return all.size();
}

bool on_one_package(const Host& host, int numa, int other) {
  std::set<int> packages;
  for (const Cpu& cpu : host.cpus)
    if (cpu.numa == numa || cpu.numa == other) packages.insert(cpu.package);
  return packages.size() == 1;
}

// Of two GPUs of one host, by what joins them alone.
LinkClass between_gpus(const Host& host, const Gpu& a, const Gpu& b) {
  // No instance reaches another's memory, of its own chip neither (MIG User Guide, "Application Considerations").
  const bool mig = a.mig || b.mig;
  if (!mig && a.switch_links > 0 && b.switch_links > 0 && a.fabric == b.fabric) return LinkClass::nvswitch;
  if (!mig && a.peer_links.contains(b.pci)) return LinkClass::nvlink;
  if (a.numa >= 0 && b.numa >= 0 && a.numa != b.numa)
    return on_one_package(host, a.numa, b.numa) ? LinkClass::package : LinkClass::sockets;
  const auto access = a.peer_access.find(b.pci);
  const bool refused = access != a.peer_access.end() && !access->second;
  return mig || refused ? LinkClass::staged : LinkClass::pcie;
}

bool on_one_fabric(const Gpu* a, const Gpu* b) { return a && b && !a->fabric.empty() && a->fabric == b->fabric; }

// Sets that grow together.
class Sets {
 public:
  explicit Sets(size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  int root(int i) {
    while (parent_[static_cast<size_t>(i)] != i) i = parent_[static_cast<size_t>(i)];
    return i;
  }
  // The lower root stays, so that it is the lowest of its set.
  void join(int a, int b) {
    const int of_a = root(a), of_b = root(b);
    parent_[static_cast<size_t>(std::max(of_a, of_b))] = std::min(of_a, of_b);
  }

 private:
  std::vector<int> parent_;
};

}  // namespace

const char* link_class_name(LinkClass link) {
  constexpr const char* kNames[] = {"one device",
                                    "NVSwitch",
                                    "NVLink",
                                    "PCIe",
                                    "one NUMA node",
                                    "PCIe without peer access",
                                    "NUMA nodes of one socket",
                                    "sockets",
                                    "the network"};
  return kNames[static_cast<size_t>(link)];
}

Links::Links(const Machine& machine, int threads) : machine_(machine), sites_(machine.ranks.size()) {
  for (int host = 0; host < std::ssize(machine.hosts); host++) {
    const Host& h = machine.hosts[static_cast<size_t>(host)];
    const std::vector<int> here = machine.ranks_on(host);
    const std::vector<ThreadPlan> plans = thread_plans(machine, host, threads);
    for (size_t i = 0; i < here.size(); i++) {
      Site& site = sites_[static_cast<size_t>(here[i])];
      site.pinned = !plans[i].cpus.empty();
      const std::vector<int>& cpus = site.pinned ? plans[i].cpus : machine.ranks[static_cast<size_t>(here[i])].allowed;
      site.numa = h.numa_of(cpus);
      site.packages = h.packages_of(cpus);
      site.gpu = machine.gpu_of_rank(here[i]);
    }
  }
}

LinkClass Links::between(int a, int b) const {
  const Site &at_a = sites_[static_cast<size_t>(a)], &at_b = sites_[static_cast<size_t>(b)];
  const Rank &of_a = machine_.ranks[static_cast<size_t>(a)], &of_b = machine_.ranks[static_cast<size_t>(b)];
  const bool one_host = machine_.host_of[static_cast<size_t>(a)] == machine_.host_of[static_cast<size_t>(b)];
  if (one_host && !of_a.gpu.empty() && of_a.gpu == of_b.gpu) return LinkClass::device;
  if (one_host && at_a.gpu && at_b.gpu) {
    const LinkClass link = between_gpus(machine_.host_of_rank(a), *at_a.gpu, *at_b.gpu);
    // Containers that share no host memory: NCCL takes those of other names for other hosts, between which only a
    // fabric's memory passes.
    const bool as_one_host = of_a.host_name == of_b.host_name || on_one_fabric(at_a.gpu, at_b.gpu);
    return of_a.domain == of_b.domain || (as_one_host && link <= LinkClass::pcie) ? link : LinkClass::network;
  }
  if (on_one_fabric(at_a.gpu, at_b.gpu)) return LinkClass::nvswitch;
  if (!one_host || of_a.domain != of_b.domain) return LinkClass::network;
  if (!of_a.gpu.empty() || !of_b.gpu.empty()) return LinkClass::pcie;  // a driver that shows nothing: who knows
  if (!at_a.pinned && !at_b.pinned && of_a.allowed == of_b.allowed) return LinkClass::device;
  // NUMA nodes before sockets: virtual machines show each CPU as a socket, of one node.
  if (together(at_a.numa, at_b.numa) <= 1) return LinkClass::numa;
  return together(at_a.packages, at_b.packages) <= 1 ? LinkClass::package : LinkClass::sockets;
}

LinkClass Links::slowest(std::span<const int> ranks) const {
  LinkClass slowest = LinkClass::device;
  for (size_t i = 0; i < ranks.size(); i++)
    for (size_t j = i + 1; j < ranks.size(); j++) slowest = std::max(slowest, between(ranks[i], ranks[j]));
  return slowest;
}

LinkClass Links::slowest_hop(std::span<const int> stage, std::span<const int> next) const {
  LinkClass slowest = LinkClass::device;
  for (size_t i = 0; i < stage.size(); i++) slowest = std::max(slowest, between(stage[i], next[i]));
  return slowest;
}

std::vector<std::vector<int>> Links::components(LinkClass link) const {
  Sets sets(sites_.size());
  std::map<std::string, int> fabrics;  // the first rank on each
  for (int host = 0; host < std::ssize(machine_.hosts); host++) {
    const std::vector<int> here = machine_.ranks_on(host);
    for (size_t i = 0; i < here.size(); i++) {
      for (size_t j = i + 1; j < here.size(); j++)
        if (between(here[i], here[j]) <= link) sets.join(here[i], here[j]);
      const Gpu* gpu = sites_[static_cast<size_t>(here[i])].gpu;
      if (gpu && !gpu->fabric.empty() && link >= LinkClass::nvswitch)
        sets.join(fabrics.try_emplace(gpu->fabric, here[i]).first->second, here[i]);
    }
  }
  std::map<int, std::vector<int>> by_root;
  for (int r = 0; r < std::ssize(sites_); r++) by_root[link == LinkClass::network ? 0 : sets.root(r)].push_back(r);
  std::vector<std::vector<int>> components;
  for (auto& [root, ranks] : by_root) components.push_back(std::move(ranks));
  return components;
}

}  // namespace trireme
