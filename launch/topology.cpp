#include <fmt/format.h>

#include <algorithm>

#include "base/thread_pool.h"
#include "launch/commands.h"
#include "launch/gather_reports.h"
#include "launch/node_report.h"
#include "topology/gpu.h"
#include "topology/host.h"

namespace trireme {

using nlohmann::ordered_json;

int topology_command(const Options& options, const Environment& environment) {
  if (!options.synthetic.empty()) {
    if (environment.rank == 0) fmt::print("{}\n{}", options.synthetic, host_text(invent_host(options.synthetic)));
    return 0;
  }
  const Host host = probe_host();
  const std::vector<int> allowed = allowed_cpus();
  ordered_json mine = {{"host", host.name},
                       {"machine", host_text(host)},
                       {"cpus", allowed},
                       {"numa_nodes", host.numa_of(allowed)},
                       {"gpus", visible_gpu_list(host.gpus, environment)}};
  std::vector<std::string> shown;  // hosts whose machine stands above already
  for (const ordered_json& r : gather_reports(mine, environment)) {
    std::string name = r["host"];
    if (std::find(shown.begin(), shown.end(), name) == shown.end())
      fmt::print("{}\n{}", name, r["machine"].get<std::string>());
    shown.push_back(name);
    int rank = r.value("rank", 0);
    fmt::print("  rank {:<4}      on {}, CPUs {}, NUMA {}, GPUs {}\n", rank, name, cpu_list(r["cpus"]),
               cpu_list(r["numa_nodes"]), r["gpus"].get<std::string>());
  }
  return 0;
}

}  // namespace trireme
