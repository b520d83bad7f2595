#include "topology/nearest.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "topology/threads.h"

namespace trireme {

namespace {

// 0: near, or unknown; 1: on another NUMA node.
int distance(const std::vector<int>& numa, int to) {
  return to < 0 || numa.empty() || std::find(numa.begin(), numa.end(), to) != numa.end() ? 0 : 1;
}

int common_bridges(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return static_cast<int>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

std::vector<std::vector<int>> numa_of_ranks(const Machine& machine, int host, int threads) {
  const Host& h = machine.hosts[static_cast<size_t>(host)];
  const std::vector<int> here = machine.ranks_on(host);
  const std::vector<ThreadPlan> plans = thread_plans(machine, host, threads);
  std::vector<std::vector<int>> numa;
  for (size_t i = 0; i < here.size(); i++) {
    const Gpu* gpu = machine.gpu_of_rank(here[i]);
    const std::vector<int>& cpus =
        plans[i].cpus.empty() ? machine.ranks[static_cast<size_t>(here[i])].allowed : plans[i].cpus;
    if (!gpu)
      numa.push_back(h.numa_of(cpus));
    else
      numa.push_back(gpu->numa < 0 ? std::vector<int>{} : std::vector<int>{gpu->numa});
  }
  return numa;
}

std::vector<int> nearest_gpus(const Machine& machine, int host) {
  const Host& h = machine.hosts[static_cast<size_t>(host)];
  const std::vector<int> here = machine.ranks_on(host);
  const auto rank_of = [&](size_t i) -> const Rank& { return machine.ranks[static_cast<size_t>(here[i])]; };
  std::vector<size_t> order(here.size());  // those with the fewest to choose from first
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rank_of(a).visible_gpus.size() < rank_of(b).visible_gpus.size(); });
  std::map<std::string, int> users;  // of each GPU or instance
  std::vector<int> chosen(here.size());
  for (size_t place : order) {
    const Rank& rank = rank_of(place);
    const std::vector<int> numa = h.numa_of(rank.allowed);
    int best = 0;
    std::tuple<int, int> least{};
    for (int i = 0; i < std::ssize(rank.visible_gpus); i++) {
      const std::string& uuid = rank.visible_gpus[static_cast<size_t>(i)];
      const Gpu* gpu = h.find_gpu(uuid);
      const std::tuple<int, int> cost{users[uuid], gpu ? distance(numa, gpu->numa) : 0};
      if (i == 0 || cost < least) least = cost, best = i;
    }
    if (!rank.visible_gpus.empty()) users[rank.visible_gpus[static_cast<size_t>(best)]]++;
    chosen[place] = best;
  }
  return chosen;
}

std::vector<int> nearest_nics(const Machine& machine, int host, int threads) {
  const std::vector<int> here = machine.ranks_on(host);
  const std::vector<std::vector<int>> numa = numa_of_ranks(machine, host, threads);
  const std::vector<HostNic>& nics = machine.hosts[static_cast<size_t>(host)].nics;
  double fastest = 0;
  for (const HostNic& nic : nics) fastest = std::max(fastest, nic.nic.gbit_per_s);
  std::vector<int> users(nics.size()), chosen;
  for (size_t r = 0; r < here.size(); r++) {
    const Gpu* gpu = machine.gpu_of_rank(here[r]);
    int best = -1;
    std::tuple<int, int, double, int> least{};
    for (int i = 0; i < std::ssize(nics); i++) {
      const HostNic& nic = nics[static_cast<size_t>(i)];
      if (2 * nic.nic.gbit_per_s < fastest) continue;
      const std::tuple<int, int, double, int> cost{distance(numa[r], nic.numa),
                                                   gpu ? -common_bridges(gpu->pci_path, nic.pci_path) : 0,
                                                   -nic.nic.gbit_per_s, users[static_cast<size_t>(i)]};
      if (best < 0 || cost < least) least = cost, best = i;
    }
    if (best >= 0) users[static_cast<size_t>(best)]++;
    chosen.push_back(best);
  }
  return chosen;
}

bool crosses_numa(const std::vector<int>& numa, const HostNic& nic) { return distance(numa, nic.numa) > 0; }

}  // namespace trireme
