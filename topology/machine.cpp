#include "topology/machine.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"

namespace trireme {

Machine Machine::of(std::vector<RankProbe> probes) {
  Machine machine;
  machine.ranks = std::move(probes);
  std::map<std::string, int> index;
  for (const RankProbe& rank : machine.ranks) {
    // Without a boot id (no /proc there) the name must do.
    auto [place, fresh] = index.try_emplace(rank.boot_id.empty() ? "host " + rank.host : rank.boot_id, machine.hosts);
    machine.hosts += fresh;
    machine.host_of.push_back(place->second);
  }
  return machine;
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
    const RankProbe& probe = ranks[static_cast<size_t>(r)];
    least = std::min(least, probe.gpu.empty() ? probe.available_bytes : probe.gpu_available_bytes);
  }
  return least / static_cast<int64_t>(sharing.size());
}

std::string Machine::text() const {
  std::string text;
  for (int host = 0; host < hosts; host++) {
    std::vector<int> here = ranks_on(host);
    const RankProbe& first = ranks[static_cast<size_t>(here[0])];
    std::set<std::string> names;
    std::set<int> cores, numa, domains;
    for (int r : here) {
      names.insert(ranks[static_cast<size_t>(r)].host);
      domains.insert(ranks[static_cast<size_t>(r)].domain);
    }
    for (const Cpu& cpu : first.cpus) {
      cores.insert(cpu.core);
      numa.insert(cpu.numa);
    }
    text += fmt::format(
        "host {}: {} ranks ({}), {} cores, {} CPUs, {} NUMA nodes, {:.1f} GiB of memory, {:.1f} GiB free",
        fmt::join(names, " = "), here.size(), fmt::join(here, " "), cores.size(), first.cpus.size(), numa.size(),
        static_cast<double>(first.memory_bytes) / (1 << 30), static_cast<double>(first.available_bytes) / (1 << 30));
    if (domains.size() > 1) text += fmt::format("; split into {} parts that share no memory", domains.size());
    text += '\n';
  }
  return text;
}

}  // namespace trireme
