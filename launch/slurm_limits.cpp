#include "launch/slurm_limits.h"

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

}  // namespace

std::string slurm_limits(const Environment& environment, const Machine& machine, int rank) {
  const Rank& found = machine.ranks[static_cast<size_t>(rank)];
  const Host& host = machine.host_of_rank(rank);
  std::vector<std::string> less;
  const auto compare = [&](const char* name, uint64_t there, uint64_t unit, const char* what) {
    const uint64_t given = number_of(environment, name);
    if (given > 0 && given < there / unit)
      less.push_back(fmt::format("{} of {} {} ({})", given, there / unit, what, name));
  };
  compare("SLURM_CPUS_ON_NODE", found.allowed.size(), 1, "CPUs");
  compare("SLURM_GPUS_ON_NODE", found.visible_gpus.size(), 1, "GPUs");
  compare("SLURM_MEM_PER_NODE", host.memory_bytes, uint64_t{1} << 20, "MiB of memory");
  return less.empty() ? "" : fmt::format("  Slurm gave     {}\n", fmt::join(less, "; "));
}

}  // namespace trireme
