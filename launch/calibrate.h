#pragma once

#include "comm/communicator.h"
#include "launch/options.h"

namespace trireme {

// Measures what this engine's steps take on the CPUs of this host (HostCosts), in about a minute, and keeps it for
// `plan` and `run` (launch/calibration_file.h). By one rank alone: steps of made-up models. By several ranks of one
// host: what an exchange between them takes, which is added to that file. Collective over `world`.
void calibrate(const Options& options, Communicator& world);

}  // namespace trireme
