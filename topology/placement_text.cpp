#include "topology/placement_text.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "topology/nearest.h"
#include "topology/threads.h"

namespace trireme {

namespace {

using Row = std::array<std::string, 8>;

std::string joined_or_dash(const std::vector<int>& numbers) {
  return numbers.empty() ? "-" : fmt::format("{}", fmt::join(numbers, ","));
}

std::string device_of(const Rank& rank, const Gpu* gpu, const std::vector<int>& pinned) {
  if (gpu && gpu->uuid != rank.gpu) return fmt::format("GPU {}, instance {}", gpu->index, rank.gpu);
  if (gpu) return fmt::format("GPU {} {}", gpu->index, gpu->name);
  if (!rank.gpu.empty()) return "GPU " + rank.gpu;
  return pinned.empty() ? fmt::format("CPUs {}, not pinned", cpu_list(rank.allowed)) : "CPUs " + cpu_list(pinned);
}

void put_rows_of_host(const Machine& machine, const Layout& layout, int threads, int host, std::vector<Row>& rows) {
  const Host& h = machine.hosts[static_cast<size_t>(host)];
  const std::vector<int> here = machine.ranks_on(host), nics = nearest_nics(machine, host, threads);
  const std::vector<std::vector<int>> numa = numa_of_ranks(machine, host, threads);
  const std::vector<ThreadPlan> plans = thread_plans(machine, host, threads);
  for (size_t i = 0; i < here.size(); i++) {
    const Rank& rank = machine.ranks[static_cast<size_t>(here[i])];
    const Gpu* gpu = machine.gpu_of_rank(here[i]);
    const Coordinates c = layout.at[static_cast<size_t>(here[i])];
    rows[static_cast<size_t>(here[i])] = {
        std::to_string(here[i]), rank.host_name,
        std::to_string(c.dp),    std::to_string(c.pp),
        std::to_string(c.tp),    device_of(rank, gpu, plans[i].cpus),
        joined_or_dash(numa[i]), nics[i] < 0 ? "-" : h.nics[static_cast<size_t>(nics[i])].name};
  }
}

// Within its group, or to the stages beside its own.
bool sends_by_network(const Links& links, const Layout& layout, int rank) {
  const Coordinates c = layout.at[static_cast<size_t>(rank)];
  std::vector<int> others = layout.group(c.pp, c.dp);
  if (c.pp > 0) others.push_back(layout.rank_at({c.tp, c.pp - 1, c.dp}));
  if (c.pp + 1 < layout.pp) others.push_back(layout.rank_at({c.tp, c.pp + 1, c.dp}));
  return std::any_of(others.begin(), others.end(),
                     [&](int other) { return links.between(rank, other) == LinkClass::network; });
}

std::string table(const std::vector<Row>& rows) {
  std::array<size_t, std::tuple_size_v<Row>> width{};
  for (const Row& row : rows)
    for (size_t i = 0; i < row.size(); i++) width[i] = std::max(width[i], row[i].size());
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); i++) line += fmt::format("{:<{}}", row[i], width[i] + 2);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

}  // namespace

std::vector<std::string> far_adapters(const Machine& machine, const Links& links, const Layout& layout, int threads) {
  std::vector<int> far;
  std::string example;
  for (int host = 0; host < std::ssize(machine.hosts); host++) {
    const Host& h = machine.hosts[static_cast<size_t>(host)];
    const std::vector<int> here = machine.ranks_on(host), nics = nearest_nics(machine, host, threads);
    const std::vector<std::vector<int>> numa = numa_of_ranks(machine, host, threads);
    for (size_t i = 0; i < here.size(); i++) {
      if (nics[i] < 0 || !sends_by_network(links, layout, here[i])) continue;
      const HostNic& nic = h.nics[static_cast<size_t>(nics[i])];
      if (!crosses_numa(numa[i], nic)) continue;
      if (far.empty())
        example = fmt::format("rank {} is at node {}, its nearest adapter {} at node {}", here[i],
                              fmt::join(numa[i], ","), nic.name, nic.numa);
      far.push_back(here[i]);
    }
  }
  if (far.empty()) return {};
  return {fmt::format("what ranks {} exchange with other hosts crosses NUMA nodes: {}", fmt::join(far, " "), example)};
}

std::string placement_text(const Machine& machine, const Links& links, const Layout& layout, int threads) {
  std::vector<Row> rows(static_cast<size_t>(machine.size()));
  for (int host = 0; host < std::ssize(machine.hosts); host++) put_rows_of_host(machine, layout, threads, host, rows);
  rows.insert(rows.begin(), {"rank", "host", "dp", "pp", "tp", "device", "NUMA", "adapter"});
  std::string text = table(rows);
  for (int dp = 0; dp < layout.dp; dp++)
    for (int pp = 0; pp < layout.pp; pp++) {
      const std::vector<int> group = layout.group(pp, dp);
      if (layout.tp > 1)
        text += fmt::format("TP group of dp {} pp {}: ranks {}, {}\n", dp, pp, fmt::join(group, " "),
                            link_class_name(links.slowest(group)));
      if (pp + 1 < layout.pp)
        text += fmt::format("hop of dp {} from pp {} to {}: {}\n", dp, pp, pp + 1,
                            link_class_name(links.slowest_hop(group, layout.group(pp + 1, dp))));
    }
  return text;
}

}  // namespace trireme
