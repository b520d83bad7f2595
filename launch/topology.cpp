#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "launch/commands.h"
#include "launch/gather_machine.h"
#include "launch/machine_file.h"
#include "launch/measure.h"
#include "launch/slurm_limits.h"
#include "topology/invent.h"
#include "topology/machine_compare.h"
#include "topology/machine_json.h"
#include "topology/machine_svg.h"
#include "topology/machine_text.h"
#include "topology/nccl_xml.h"

namespace trireme {

namespace {

constexpr int kDiffers = 1;  // the exit code of diff, too

bool is_probed(const Options& options) { return options.synthetic.empty() && options.read_machine.empty(); }

Machine probe_machine(const Options& options, const Environment& environment) {
  RankProbe mine = probe_here(environment);
  if (environment.launcher.empty()) {
    Machine machine = Machine::of({std::move(mine)});
    if (options.measure) measure_machine(machine);
    return machine;
  }
  Waiter waiter{std::chrono::seconds(60)};  // machines that answer at all answer in far less
  Communicator world = Communicator::world(waiter);
  Machine machine = gather_machine(world, std::move(mine));
  // Nobody has proved it, but ranks under one kernel most likely share memory.
  for (int r = 0; r < machine.size(); r++)
    machine.ranks[static_cast<size_t>(r)].domain = machine.ranks_on(machine.host_of[static_cast<size_t>(r)]).front();
  if (options.measure) measure_machine(machine, world);
  return machine;
}

int compare(const Machine& machine, const Options& options) {
  const std::vector<std::string> found = differences(machine, read_machine_file(options.compare));
  for (const std::string& difference : found) fmt::print("{}\n", difference);
  if (found.empty()) fmt::print("alike\n");
  return found.empty() ? 0 : kDiffers;
}

}  // namespace

int topology_command(const Options& options, const Environment& environment) {
  Machine machine;
  if (is_probed(options)) machine = probe_machine(options, environment);
  const int rank = environment.rank;
  if (rank != 0) return 0;
  std::string remark;
  if (options.measure)
    keep_measured(machine, environment);
  else if (is_probed(options))
    find_measured(machine, environment, remark);
  if (!remark.empty()) fmt::print(stderr, "trireme topology: {}\n", remark);
  if (!options.synthetic.empty()) machine = invent_machine(options.synthetic);
  if (!options.read_machine.empty()) machine = read_machine_file(options.read_machine);

  if (!options.dump.empty()) write_machine_file(machine, options.dump);
  if (!options.svg.empty()) replace_file(options.svg, machine_svg(machine));
  if (!options.nccl_xml.empty())
    replace_file(options.nccl_xml, nccl_xml(machine.hosts.front(), is_probed(options) ? "/" : ""));
  if (!options.compare.empty()) return compare(machine, options);
  if (options.json) {
    const auto replaced = nlohmann::json::error_handler_t::replace;
    fmt::print("{}\n", machine_to_json(machine).dump(-1, ' ', false, replaced));
    return 0;
  }
  fmt::print("{}", machine_tree(machine));
  if (is_probed(options)) fmt::print("{}", slurm_limits(environment, machine, rank));
  return 0;
}

}  // namespace trireme
