#include "topology/placement_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "topology/link_report.h"
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

// ", 0.4 us and ...": what was measured between two neighbouring stages of a replica, or inside one (pp == next).
std::string measured_text(const Machine& machine, const Links& links, const Layout& layout, int dp, int pp, int next) {
  const std::string text = worst_text(machine, links, [&](const MeasuredLink& link) {
    const Coordinates &from = layout.at[static_cast<size_t>(link.from)], &to = layout.at[static_cast<size_t>(link.to)];
    return from.dp == dp && std::min(from.pp, to.pp) == pp && std::max(from.pp, to.pp) == next;
  });
  return text.empty() ? "" : ", " + text;
}

}  // namespace

std::string placement_text(const Machine& machine, const Links& links, const Layout& layout, int threads) {
  std::vector<Row> rows(static_cast<size_t>(machine.size()));
  for (int host = 0; host < std::ssize(machine.hosts); host++) put_rows_of_host(machine, layout, threads, host, rows);
  rows.insert(rows.begin(), {"rank", "host", "dp", "pp", "tp", "device", "NUMA", "adapter"});
  std::string text = table(rows);
  for (int dp = 0; dp < layout.dp; dp++)
    for (int pp = 0; pp < layout.pp; pp++) {
      const std::vector<int> group = layout.group(pp, dp);
      if (layout.tp > 1)
        text += fmt::format("TP group of dp {} pp {}: ranks {}, {}{}\n", dp, pp, fmt::join(group, " "),
                            link_class_name(links.slowest(group)), measured_text(machine, links, layout, dp, pp, pp));
      if (pp + 1 < layout.pp)
        text += fmt::format("hop of dp {} from pp {} to {}: {}{}\n", dp, pp, pp + 1,
                            link_class_name(links.slowest_hop(group, layout.group(pp + 1, dp))),
                            measured_text(machine, links, layout, dp, pp, pp + 1));
    }
  return text;
}

}  // namespace trireme
