#pragma once

#include <vector>

#include "topology/machine.h"

namespace trireme {

// The NUMA nodes of what each of a host's ranks computes on, in their order: its GPU's, or those of its threads' CPUs
// (threads.h), or of all that it may use where they are not pinned. Empty: unknown. threads: of a rank, 0 for auto.
std::vector<std::vector<int>> numa_of_ranks(const Machine& machine, int host, int threads = 0);

// The GPU for each of a host's ranks, in their order: an index into what that rank sees of them (Rank::visible_gpus).
// As few ranks as can be share one; of equals one at the NUMA nodes of the rank's CPUs, then the first. A rank that
// sees none has 0.
std::vector<int> nearest_gpus(const Machine& machine, int host);

// The network adapter for each of a host's ranks, in their order: an index into Host::nics, -1 where there is none. Of
// those at least half as fast as the host's fastest, for a service network is no way round a far adapter: the nearest
// to the rank's GPU, or CPUs, by the NUMA node, then by the PCI bridges that both are under; ranks for which several
// are as near take them in turn.
std::vector<int> nearest_nics(const Machine& machine, int host, int threads = 0);

// Whether the way from one of these NUMA nodes (numa_of_ranks) to an adapter has to leave it. False where nobody knows.
bool crosses_numa(const std::vector<int>& numa, const HostNic& nic);

}  // namespace trireme
