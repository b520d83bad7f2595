#pragma once

#include <string>

#include "launch/environment.h"
#include "topology/machine.h"

namespace trireme {

// One line, indented by two spaces, of what Slurm says it gave of this rank's host, where that is less than what the
// rank found; "": nothing less.
std::string slurm_limits(const Environment& environment, const Machine& machine, int rank);

}  // namespace trireme
