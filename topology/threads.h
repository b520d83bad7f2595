#pragma once

#include <span>
#include <vector>

#include "topology/machine.h"

namespace trireme {

// How many threads a rank has and where they run.
struct ThreadPlan {
  int threads = 1;
  std::vector<int> cpus;  // [threads] to pin to; empty: not pinned, because more threads than CPUs share them
  bool operator==(const ThreadPlan&) const = default;
};

// masks[i]: the CPUs that the launcher left to rank i of one host; ranks may share them. wanted: threads of a rank, 0
// for auto (an equal part of the cores of its mask, at least 1). Ranks with one mask get neighbouring parts of it, a
// thread a core while there are cores enough.
std::vector<ThreadPlan> assign_threads(std::span<const std::vector<Cpu>> masks, int wanted);

// The plans of a host's ranks, in their order; and of one rank of a machine.
std::vector<ThreadPlan> thread_plans(const Machine& machine, int host, int wanted);
ThreadPlan thread_plan(const Machine& machine, int rank, int wanted);

// The CPUs of a rank's mask at the NUMA nodes of its pinned threads: what runs there touches memory that they are to
// read first. Empty: they are not pinned, and no node is theirs.
std::vector<int> cpus_near(const Machine& machine, int rank, const ThreadPlan& plan);

}  // namespace trireme
