#pragma once

#include <string>

#include "launch/environment.h"
#include "topology/machine.h"

namespace trireme {

// What this process finds of its host. Memory is at most what Slurm gave, whether or not a cgroup says so, too.
RankProbe probe_here(const Environment& environment);

// One line, indented by two spaces, of what Slurm says it gave of this rank's host, where that is less than what the
// rank found; "": nothing less.
std::string slurm_limits(const Environment& environment, const Machine& machine, int rank);

}  // namespace trireme
