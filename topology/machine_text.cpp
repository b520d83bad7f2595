#include "topology/machine_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "topology/machine_compare.h"

namespace trireme {

namespace {

std::string gib(uint64_t bytes) { return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30)); }

std::string at_pci(const std::vector<std::string>& path) {
  return path.empty() ? "" : fmt::format(", PCI {}", path.back());
}

std::string gpu_line(const Gpu& gpu) {
  std::string text = fmt::format("      GPU {:<6} {}", gpu.index, gpu.name.empty() ? "unknown" : gpu.name);
  if (gpu.memory_bytes) text += ", " + gib(gpu.memory_bytes);
  text += at_pci(gpu.pci_path);
  if (gpu.sm_clock_mhz) text += fmt::format(", {} MHz", gpu.sm_clock_mhz);
  if (!gpu.fabric.empty()) text += fmt::format(", fabric {}", gpu.fabric);
  text += '\n';
  for (const MigInstance& instance : gpu.instances)
    text += fmt::format("        {}, {}\n", instance.uuid, gib(instance.memory_bytes));
  return text;
}

std::string parts_text(const Host& host) {
  std::string text;
  for (const PackagePart& package : parts_of(host)) {
    if (package.package >= 0) text += fmt::format("  package {}\n", package.package);
    for (const NumaPart& node : package.nodes) {
      text += node.node < 0
                  ? "  of no known NUMA node\n"
                  : fmt::format("    NUMA {:<6} {} cores, CPUs {}\n", node.node, node.cores, cpu_list(node.cpus));
      for (const Gpu* gpu : node.gpus) text += gpu_line(*gpu);
      for (const HostNic* nic : node.nics)
        text += fmt::format("      {:<10} {}{}\n", nic->name, nic->nic.text(), at_pci(nic->pci_path));
    }
  }
  return text;
}

// A row for each GPU; columns are all GPUs and adapters.
std::string matrix_text(const Host& host) {
  const std::vector<Gpu>& gpus = host.gpus.gpus;
  if (gpus.empty() || gpus.size() + host.nics.size() < 2) return "";
  constexpr const char* kCell = "  {:<10}";
  std::string text = "  links     ";
  for (const Gpu& gpu : gpus) text += fmt::format(fmt::runtime(kCell), fmt::format("GPU {}", gpu.index));
  for (const HostNic& nic : host.nics) text += fmt::format(fmt::runtime(kCell), nic.name);
  std::set<std::string> used;
  const auto cell = [&](const std::string& word) {
    const bool marked = word.ends_with(kNoPeerAccess);
    used.insert(marked ? word.substr(0, word.size() - 1) : word);
    if (marked) used.insert(kNoPeerAccess);
    text += fmt::format(fmt::runtime(kCell), word);
  };
  for (const Gpu& a : gpus) {
    text.erase(text.find_last_not_of(' ') + 1);
    text += fmt::format("\n    GPU {:<4}", a.index);
    for (const Gpu& b : gpus) cell(&a == &b ? "-" : gpu_relation(a, b));
    for (const HostNic& nic : host.nics) cell(pci_relation(a.pci_path, a.numa, nic.pci_path, nic.numa));
  }
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
  constexpr std::pair<const char*, const char*> kMeanings[] = {{"switch", "behind one PCI switch"},
                                                               {"bridge", "at one PCI host bridge"},
                                                               {"node", "of one NUMA node"},
                                                               {"sockets", "of two NUMA nodes"},
                                                               {"?", "unknown"},
                                                               {kNoPeerAccess, "without access to its memory"}};
  for (auto [word, meaning] : kMeanings)
    if (used.contains(word)) text += fmt::format("    {:<9} {}\n", word, meaning);
  return text;
}

// "; GPUs 2 of 8" and its like: what the ranks of a host may use of it, where that is less.
std::string limits_text(const Machine& machine, int index) {
  const Host& host = machine.hosts[static_cast<size_t>(index)];
  std::set<int> cpus;
  std::set<std::string> gpus;
  double quota = 0;
  const std::vector<int> ranks = machine.ranks_on(index);
  for (int r : ranks) {
    const Rank& rank = machine.ranks[static_cast<size_t>(r)];
    cpus.insert(rank.allowed.begin(), rank.allowed.end());
    gpus.insert(rank.visible_gpus.begin(), rank.visible_gpus.end());
    if (rank.cpu_quota > 0) quota = quota > 0 ? std::min(quota, rank.cpu_quota) : rank.cpu_quota;
  }
  std::vector<std::string> limits;
  if (!cpus.empty() && cpus.size() < host.cpus.size())
    limits.push_back(fmt::format("{} of {} CPUs", cpus.size(), host.cpus.size()));
  if (quota > 0) limits.push_back(fmt::format("the time of {:.3g} CPUs (control group)", quota));
  if (host.memory_bytes < host.machine_memory_bytes)
    limits.push_back(
        fmt::format("{} of {} of memory (control group)", gib(host.memory_bytes), gib(host.machine_memory_bytes)));
  if (!ranks.empty() && gpus.size() < host.gpus.gpus.size())
    limits.push_back(fmt::format("{} of {} GPUs", gpus.size(), host.gpus.gpus.size()));
  return limits.empty() ? "" : fmt::format("  limits         {}\n", fmt::join(limits, "; "));
}

// "2", "2 (MIG-...)" or, when the driver does not show it, its UUID.
std::string gpu_number(const Host& host, const std::string& uuid) {
  for (const Gpu& gpu : host.gpus.gpus) {
    if (gpu.uuid == uuid) return fmt::format("{}", gpu.index);
    for (const MigInstance& instance : gpu.instances)
      if (instance.uuid == uuid) return fmt::format("{} ({})", gpu.index, uuid);
  }
  return uuid;
}

// Alike hosts are not equally fast: from the slowest to the fastest.
std::string measured_text(const Machine& machine, const std::vector<int>& group) {
  double least = machine.hosts[static_cast<size_t>(group.front())].read_gbps, most = least;
  for (int h : group) {
    least = std::min(least, machine.hosts[static_cast<size_t>(h)].read_gbps);
    most = std::max(most, machine.hosts[static_cast<size_t>(h)].read_gbps);
  }
  if (most <= 0) return "";
  const std::string range = least < most ? fmt::format("{:.1f} to {:.1f}", least, most) : fmt::format("{:.1f}", most);
  return fmt::format("  memory reads   {} GB/s, measured\n", range);
}

std::string measured_links_text(const Machine& machine) {
  if (machine.measured_links.empty()) return "";
  std::string text = "measured between ranks, one way\n";
  for (const MeasuredLink& link : machine.measured_links)
    text += fmt::format("  {:>4} to {:<4}  {:8.2f} us  {:8.2f} GB/s  {}\n", link.from, link.to, link.latency_us,
                        link.gbps, link.transport);
  return text;
}

std::string rank_text(const Machine& machine, int index) {
  const Rank& rank = machine.ranks[static_cast<size_t>(index)];
  const Host& host = machine.host_of_rank(index);
  std::vector<std::string> gpus;
  for (const std::string& uuid : rank.visible_gpus) gpus.push_back(gpu_number(host, uuid));
  return fmt::format("  rank {:<4}      on {},{} CPUs {}, NUMA {}, GPUs {}\n", index, rank.host_name,
                     rank.gpu.empty() ? "" : fmt::format(" computes on GPU {},", gpu_number(host, rank.gpu)),
                     cpu_list(rank.allowed), cpu_list(host.numa_of(rank.allowed)),
                     gpus.empty() ? "none" : fmt::format("{}", fmt::join(gpus, ",")));
}

}  // namespace

std::string machine_tree(const Machine& machine) {
  std::string text;
  for (const std::vector<int>& group : alike_hosts(machine)) {
    const Host& host = machine.hosts[static_cast<size_t>(group.front())];
    const std::string names = host_names(machine, group);
    text += group.size() == 1 ? names + "\n" : fmt::format("{}: {} hosts, alike\n", names, group.size());
    for (const std::string& difference : differences(machine.hosts[0], host))
      text += fmt::format("  unlike {}  {}\n", machine.hosts[0].name, difference);
    text += host_text(host) + measured_text(machine, group) + parts_text(host) + matrix_text(host);
    // Limits are of a launch: they may differ between hosts that are alike.
    std::string before;
    for (int h : group) {
      const std::string limits = limits_text(machine, h);
      if (limits != before && group.size() > 1)
        text += fmt::format("  from {} on\n", machine.hosts[static_cast<size_t>(h)].name);
      if (limits != before) text += limits.empty() ? "  limits         none\n" : limits;
      before = limits;
    }
    for (int h : group)
      for (int r : machine.ranks_on(h)) text += rank_text(machine, r);
  }
  return text + measured_links_text(machine);
}

}  // namespace trireme
