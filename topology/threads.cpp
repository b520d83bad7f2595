#include "topology/threads.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace trireme {

namespace {

bool by_place(const Cpu& a, const Cpu& b) { return std::tie(a.numa, a.core, a.id) < std::tie(b.numa, b.core, b.id); }

// One CPU of each core.
std::vector<Cpu> one_a_core(const std::vector<Cpu>& mask) {
  std::vector<Cpu> cores;
  std::set<int> seen;
  for (const Cpu& cpu : mask)
    if (seen.insert(cpu.core).second) cores.push_back(cpu);
  return cores;
}

bool overlap(const std::vector<Cpu>& a, const std::vector<Cpu>& b) {
  return std::any_of(a.begin(), a.end(), [&](const Cpu& cpu) { return std::find(b.begin(), b.end(), cpu) != b.end(); });
}

// Rank `index` of `sharers` that all have `mask`, in order of place.
ThreadPlan part_of_mask(const std::vector<Cpu>& mask, int index, int sharers, int wanted) {
  std::vector<Cpu> cores = one_a_core(mask);
  int threads = wanted > 0 ? wanted : std::max(1, static_cast<int>(cores.size()) / sharers);
  size_t need = static_cast<size_t>(threads) * static_cast<size_t>(sharers);
  ThreadPlan plan{threads, {}};
  const std::vector<Cpu>& from = need <= cores.size() ? cores : mask;
  if (need <= from.size())
    for (int i = 0; i < threads; i++) plan.cpus.push_back(from[static_cast<size_t>(index * threads + i)].id);
  return plan;
}

}  // namespace

std::vector<ThreadPlan> assign_threads(std::span<const std::vector<Cpu>> masks, int wanted) {
  std::vector<std::vector<Cpu>> sorted(masks.begin(), masks.end());
  for (auto& mask : sorted) std::sort(mask.begin(), mask.end(), by_place);
  std::vector<ThreadPlan> plans;
  for (size_t rank = 0; rank < sorted.size(); rank++) {
    int sharers = 0, index = 0;
    bool alike = true;
    for (size_t other = 0; other < sorted.size(); other++) {
      if (other != rank && !overlap(sorted[rank], sorted[other])) continue;
      alike = alike && sorted[other] == sorted[rank];
      index += other < rank;
      sharers++;
    }
    if (alike)
      plans.push_back(part_of_mask(sorted[rank], index, sharers, wanted));
    else  // masks that cross: count on an equal part, pin nothing
      plans.push_back(
          {wanted > 0 ? wanted : std::max(1, static_cast<int>(one_a_core(sorted[rank]).size()) / sharers), {}});
  }
  return plans;
}

std::vector<ThreadPlan> thread_plans(const Machine& machine, int host, int wanted) {
  std::vector<std::vector<Cpu>> masks;
  for (int r : machine.ranks_on(host)) {
    auto& mask = masks.emplace_back();
    for (int id : machine.ranks[static_cast<size_t>(r)].allowed)
      if (const Cpu* cpu = machine.hosts[static_cast<size_t>(host)].find_cpu(id)) mask.push_back(*cpu);
  }
  return assign_threads(masks, wanted);
}

std::vector<int> cpus_near(const Machine& machine, int rank, const ThreadPlan& plan) {
  const Host& host = machine.host_of_rank(rank);
  const std::vector<int> nodes = host.numa_of(plan.cpus);
  std::vector<int> near;
  for (int id : machine.ranks[static_cast<size_t>(rank)].allowed)
    if (const Cpu* cpu = host.find_cpu(id); cpu && std::count(nodes.begin(), nodes.end(), cpu->numa) > 0)
      near.push_back(id);
  return near;
}

ThreadPlan thread_plan(const Machine& machine, int rank, int wanted) {
  const int host = machine.host_of[static_cast<size_t>(rank)];
  const std::vector<int> here = machine.ranks_on(host);
  const auto index = std::find(here.begin(), here.end(), rank) - here.begin();
  return thread_plans(machine, host, wanted)[static_cast<size_t>(index)];
}

}  // namespace trireme
