#include "topology/machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "base/thread_pool.h"
#include "topology/control_group.h"

namespace trireme {

RankProbe probe_rank(const std::optional<std::string>& cuda_visible_devices) {
  RankProbe probe;
  probe.host = probe_host();
  probe.rank.host_name = probe.host.name;
  probe.rank.allowed = allowed_cpus();
  probe.rank.cpu_quota = probe_cpu_quota("/");
  probe.rank.available_bytes = static_cast<int64_t>(probe.host.memory_available_bytes);
  for (const Gpu& gpu : visible_gpus(probe.host.gpus.gpus, cuda_visible_devices))
    probe.rank.visible_gpus.push_back(gpu.uuid);
  return probe;
}

namespace {

// A cgroup may show each process its own GPUs and instances alone: the host has those of all.
void add_gpus(GpuProbe& host, GpuProbe seen) {
  if (host.gpus.empty()) host = std::move(seen);
  for (Gpu& gpu : seen.gpus) {
    const auto known = std::find_if(host.gpus.begin(), host.gpus.end(),
                                    [&](const Gpu& g) { return g.uuid == gpu.uuid && g.pci == gpu.pci; });
    if (known == host.gpus.end()) {
      host.gpus.push_back(std::move(gpu));
      continue;
    }
    for (MigInstance& instance : gpu.instances)
      if (std::find(known->instances.begin(), known->instances.end(), instance) == known->instances.end())
        known->instances.push_back(std::move(instance));
  }
}

// Each process counts those that it is shown from 0.
void number_gpus(std::vector<Gpu>& gpus) {
  std::set<int> numbers;
  for (const Gpu& gpu : gpus) numbers.insert(gpu.index);
  if (numbers.size() == gpus.size()) return;
  std::sort(gpus.begin(), gpus.end(), [](const Gpu& a, const Gpu& b) { return a.pci < b.pci; });
  for (size_t i = 0; i < gpus.size(); i++) gpus[i].index = static_cast<int>(i);
}

}  // namespace

Machine Machine::of(std::vector<RankProbe> probes) {
  Machine machine;
  std::map<std::string, int> index;
  for (RankProbe& probe : probes) {
    // Without a boot id (no /proc there) the name must do.
    const std::string& boot_id = probe.host.boot_id;
    auto [place, fresh] =
        index.try_emplace(boot_id.empty() ? "host " + probe.host.name : boot_id, std::ssize(machine.hosts));
    if (fresh)
      machine.hosts.push_back(std::move(probe.host));
    else
      add_gpus(machine.hosts[static_cast<size_t>(place->second)].gpus, std::move(probe.host.gpus));
    machine.host_of.push_back(place->second);
    machine.ranks.push_back(std::move(probe.rank));
  }
  for (Host& host : machine.hosts) number_gpus(host.gpus.gpus);
  return machine;
}

const Gpu* Machine::gpu_of_rank(int rank) const {
  return host_of_rank(rank).find_gpu(ranks[static_cast<size_t>(rank)].gpu);
}

std::vector<int> Machine::ranks_on(int host) const {
  std::vector<int> here;
  for (size_t r = 0; r < ranks.size(); r++)
    if (host_of[r] == host) here.push_back(static_cast<int>(r));
  return here;
}

std::vector<int> Machine::sharing_memory_with(int rank) const {
  std::vector<int> sharing = ranks_on(host_of[static_cast<size_t>(rank)]);
  const std::string& gpu = ranks[static_cast<size_t>(rank)].gpu;
  std::erase_if(sharing, [&](int r) { return ranks[static_cast<size_t>(r)].gpu != gpu; });
  return sharing;
}

int64_t Machine::available_bytes(int rank) const {
  int64_t least = std::numeric_limits<int64_t>::max();
  const std::vector<int> sharing = sharing_memory_with(rank);
  for (int r : sharing) {
    const Rank& shares = ranks[static_cast<size_t>(r)];
    least = std::min(least, shares.gpu.empty() ? shares.available_bytes : shares.gpu_available_bytes);
  }
  return least / static_cast<int64_t>(sharing.size());
}

std::string Machine::text() const {
  std::string text;
  for (size_t h = 0; h < hosts.size(); h++) {
    const Host& host = hosts[h];
    const std::vector<int> here = ranks_on(static_cast<int>(h));
    std::set<std::string> names;
    std::set<int> domains;
    for (int r : here) {
      names.insert(ranks[static_cast<size_t>(r)].host_name);
      domains.insert(ranks[static_cast<size_t>(r)].domain);
    }
    text +=
        fmt::format("host {}: {} ranks ({}), {} cores, {} CPUs, {} NUMA nodes, {:.1f} GiB of memory, {:.1f} GiB free",
                    fmt::join(names, " = "), here.size(), fmt::join(here, " "), host.cores(), host.cpus.size(),
                    host.numa_nodes(), static_cast<double>(host.memory_bytes) / (1 << 30),
                    static_cast<double>(host.memory_available_bytes) / (1 << 30));
    if (domains.size() > 1) text += fmt::format("; split into {} parts that share no memory", domains.size());
    text += '\n';
  }
  return text;
}

}  // namespace trireme
