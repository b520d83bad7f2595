#pragma once

#include <vector>

#include "topology/machine.h"

namespace trireme {

// The GPU for each of a host's ranks, in their order: an index into what that rank sees of them (Rank::visible_gpus).
// As few ranks as can be share one; of equals one at the NUMA nodes of the rank's CPUs, then the first. A rank that
// sees none has 0.
std::vector<int> nearest_gpus(const Machine& machine, int host);

// The network adapter for each of a host's ranks, in their order: an index into Host::nics, -1 where there is none. Of
// those at least half as fast as the host's fastest, for a service network is no way round a far adapter: the nearest
// to the rank's GPU, or CPUs, by the NUMA node, then by the PCI bridges that both are under; ranks for which several
// are as near take them in turn.
std::vector<int> nearest_nics(const Machine& machine, int host);

// Whether the way from a rank to an adapter crosses NUMA nodes. False where nobody knows.
bool crosses_numa(const Machine& machine, int rank, const HostNic& nic);

}  // namespace trireme
