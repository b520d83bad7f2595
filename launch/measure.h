#pragma once

#include <string>

#include "comm/communicator.h"
#include "launch/environment.h"
#include "topology/machine.h"

namespace trireme {

// Measures now, all ranks together: what each host's memory gives to its ranks reading at once, and latency and
// bandwidth between ranks, one pair after the other (every pair of up to 8 ranks; of more, neighbours). The result is
// in `machine` on rank 0 alone. Collective over `world`.
void measure_machine(Machine& machine, Communicator& world);
// The same of a process without MPI: memory alone.
void measure_machine(Machine& machine);

// Measurements are kept in the user's cache folder, by the machine: hosts' names, hardware, and CPUs of the ranks.
// Nothing is kept, nor found, where there is no such folder.
void keep_measured(const Machine& machine, const Environment& environment);
// remark: that they cannot be read.
void find_measured(Machine& machine, const Environment& environment, std::string& remark);

}  // namespace trireme
