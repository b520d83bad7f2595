#include "launch/calibrate.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "comm/collective_bench.h"
#include "device/cpu_device.h"
#include "kernels/select.h"
#include "launch/calibration_file.h"
#include "launch/probe_limits.h"
#include "launch/rank_costs.h"
#include "launch/stopwatch.h"
#include "topology/machine.h"
#include "topology/threads.h"

namespace trireme {

namespace {

// Virtual machines share cores and memory with others for seconds or minutes, and what differs between two figures must
// not be that: all is timed in rounds.
constexpr int kRounds = 5;
constexpr int64_t kSmallBytes = 16 << 10, kLargeBytes = 1 << 20;  // exchanges of a decode step and of a prefill

double read_bytes_per_s() {
  const Unpinned after;
  ThreadPool pool(static_cast<int>(after.cpus.size()), after.cpus);
  return probe_read_gbps(pool) * 1e9;
}

RankCosts measure_in_rounds(const Options& options, Communicator& world, Log& log) {
  std::vector<Timings> rounds;
  for (int i = 0; i < kRounds; i++) {
    log.info("steps of made-up models, round {} of {}", i + 1, kRounds);
    rounds.push_back(time_steps(options, world, log));
  }
  return rank_costs_of(mean_of(rounds), world.size());
}

// By one rank that has all cores: as a run has them, a thread a core, whatever hardware threads it has.
HostCosts measure_host(const Options& options, Communicator& world, Log& log) {
  Options all = options;
  all.threads = thread_plan(Machine::of({probe_rank(std::nullopt)}), 0, static_cast<int>(options.threads)).threads;
  HostCosts costs{.cores = static_cast<double>(all.threads),
                  .cached_bytes = cached_bytes(),
                  .reduce_us = 5,
                  .reduce_bytes_per_s = 4e9};
  costs.read_bytes_per_s = read_bytes_per_s();
  costs.whole = measure_in_rounds(all, world, log).beside;
  costs.read_bytes_per_s = std::max(costs.read_bytes_per_s, read_bytes_per_s());  // a bound: the most
  return costs;
}

// Of the ranks of one host that have a core each.
void measure_cores(const Options& options, Communicator& world, Log& log, HostCosts& costs) {
  if (world.size() != static_cast<int>(costs.cores)) {
    log.info("steps of ranks with a core each: not measured; start {:.0f} ranks for that", costs.cores);
    return;
  }
  Options one = options;
  one.threads = 1;
  const RankCosts measured = measure_in_rounds(one, world, log);
  if (world.rank() == 0) costs.core = measured.beside, costs.lone = measured.lone;
}

// Of the ranks of one host, in place of the figures that stand in its file.
void measure_exchange(Communicator& world, HostCosts& costs) {
  const auto fabric = Fabric::create(world);
  CpuDevice device(1, {});
  const Kernels kernels = select_kernels(available_levels().back());
  const auto timings = bench_collectives(world, *fabric, device, kernels, {kSmallBytes, kLargeBytes}, 2000);
  const double more_us = timings[1].median_us - timings[0].median_us;
  const double more_bytes = static_cast<double>(timings[1].bytes - timings[0].bytes) * (world.size() - 1);
  costs.reduce_bytes_per_s = more_bytes / std::max(more_us, 1e-3) * 1e6;
  const double small = static_cast<double>(timings[0].bytes) * (world.size() - 1) / costs.reduce_bytes_per_s * 1e6;
  costs.reduce_us = std::max(0.1, timings[0].median_us - small);
}

void print_steps(const StepCosts& c, const char* of) {
  if (c.empty()) return;
  const std::vector<double>* rows = nullptr;  // of the longest curve, with which all others begin
  for (const auto& sizes : c.layers)
    for (const StepCosts::Layers& l : sizes)
      if (!rows || rows->size() < l.curve.rows.size()) rows = &l.curve.rows;
  fmt::print("{}\n{:<6}{:>16}", of, "rows", "");
  for (double r : *rows) fmt::print("{:>8.0f}", r);
  fmt::print("   ns a parameter\n");
  for (int p = 0; p < kPrecisions; p++)
    for (const StepCosts::Layers& l : c.layers[p]) {
      fmt::print("{:<6}layers of{:>5.1f} M", precision_name(static_cast<Precision>(p)), l.parameters * 1e-6);
      for (double ns : l.curve.ns_per_parameter) fmt::print("{:>8.4f}", ns);
      fmt::print("\n");
    }
  fmt::print(
      "a step {:.1f} us, a sequence {:.2f} us; attention {:.4f} ns and {:.4f} decoding ({:.4f} and {:.4f} in caches), "
      "{:.4f} in prompts\n",
      c.step_us, c.sequence_us, c.attend_ns, c.kv_ns, c.cached_attend_ns, c.cached_kv_ns, c.attend_prompt_ns);
}

void print_costs(const HostCosts& c, const Options& options) {
  if (options.json) return fmt::print("{}\n", c.to_json().dump());
  fmt::print("{:.0f} cores, reads {:.1f} GB/s; an exchange {:.1f} us and {:.1f} GB/s\n", c.cores,
             c.read_bytes_per_s * 1e-9, c.reduce_us, c.reduce_bytes_per_s * 1e-9);
  print_steps(c.whole, "a rank of all cores:");
  print_steps(c.core, "a rank of one core, beside others:");
  print_steps(c.lone, "a rank of one core, while the others wait:");
}

}  // namespace

void calibrate(const Options& options, Communicator& world) {
  if (options.device != "cpu")
    fail(ExitCode::usage, "--calibrate measures CPUs; leave --device {} out", options.device);
  Log log(options.log_level, world.rank());
  const Host host = probe_host();
  const std::string level(options.level == "auto" ? available_levels().back() : std::string_view(options.level));
  HostCosts costs;
  if (world.size() == 1) {
    costs = measure_host(options, world, log);
  } else {
    const std::optional<HostCosts> before = read_calibration(host, level);
    if (world.all_min(before.has_value()) == 0)
      fail(ExitCode::usage,
           "--calibrate by {} ranks adds to this host's calibration, and there is none; run trireme "
           "bench --calibrate alone first",
           world.size());
    costs = *before;
    measure_exchange(world, costs);
    measure_cores(options, world, log, costs);
  }
  if (world.rank() != 0) return;
  write_calibration(host, level, costs);
  print_costs(costs, options);
  log.info("kept in {}", calibration_path(host, level));
  if (world.size() == 1 && costs.cores > 1)
    log.info("next: mpirun -n {:.0f} trireme bench --calibrate, for layouts of several ranks", costs.cores);
}

}  // namespace trireme
