#include "launch/slurm_limits.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <vector>

namespace trireme {

namespace {

// 0: not said.
uint64_t number_of(const Environment& environment, const char* name) {
  const std::string text = environment.value(name);
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// Of the job on this host, in MiB.
uint64_t memory_given(const Environment& environment) {
  const uint64_t all = number_of(environment, "SLURM_MEM_PER_NODE");
  return all > 0 ? all : number_of(environment, "SLURM_MEM_PER_CPU") * number_of(environment, "SLURM_CPUS_ON_NODE");
}

}  // namespace

RankProbe probe_here(const Environment& environment) {
  RankProbe probe = probe_rank(environment.find("CUDA_VISIBLE_DEVICES"));
  if (const uint64_t mib = memory_given(environment); mib > 0 && mib < probe.host.memory_available_bytes >> 20) {
    probe.host.memory_available_bytes = mib << 20;
    probe.rank.available_bytes = static_cast<int64_t>(mib << 20);
  }
  return probe;
}

std::string slurm_limits(const Environment& environment, const Machine& machine, int rank) {
  const Rank& found = machine.ranks[static_cast<size_t>(rank)];
  const Host& host = machine.host_of_rank(rank);
  std::vector<std::string> less;
  const auto compare = [&](uint64_t given, uint64_t there, const char* what) {
    if (given > 0 && given < there) less.push_back(fmt::format("{} of {} {}", given, there, what));
  };
  compare(number_of(environment, "SLURM_CPUS_ON_NODE"), found.allowed.size(), "CPUs (SLURM_CPUS_ON_NODE)");
  compare(number_of(environment, "SLURM_GPUS_ON_NODE"), found.visible_gpus.size(), "GPUs (SLURM_GPUS_ON_NODE)");
  compare(memory_given(environment), host.memory_bytes >> 20, "MiB of memory (SLURM_MEM_PER_NODE or _PER_CPU)");
  return less.empty() ? "" : fmt::format("  Slurm gave     {}\n", fmt::join(less, "; "));
}

}  // namespace trireme
