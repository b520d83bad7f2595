#pragma once

#include "comm/communicator.h"
#include "launch/options.h"

namespace trireme {

// Measures what this engine's steps take on the CPUs of this host (HostCosts), in some minutes, and keeps it for
// `plan` and `run` (launch/calibration_file.h). By one rank alone: steps of made-up models. By several ranks of one
// host, added to that file: what an exchange between them takes; by as many as it has cores also the same steps on one
// core each, while the others work and while they wait. Collective over `world`.
void calibrate(const Options& options, Communicator& world);

}  // namespace trireme
