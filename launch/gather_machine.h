#pragma once

#include "comm/communicator.h"
#include "topology/machine.h"

namespace trireme {

// The map of the job from every rank's probe, the same on all. Collective over `world`.
Machine gather_machine(Communicator& world, RankProbe probe);

}  // namespace trireme
