#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "launch/environment.h"
#include "topology/placement.h"

namespace trireme {

// Before anything relies on them: latency and bandwidth of every pair of a TP group and of every hop between stages,
// the same on all ranks. Pairs that have no rank in common are measured at once, a few milliseconds each. gpu: this
// rank's, or null; between GPUs that open each other's memory copies are measured, else the hosts' memories. deadline:
// of a wait for a peer. Collective over `world`.
std::vector<MeasuredLink> measure_links(Communicator& world, Fabric& fabric, const Layout& layout, Device* gpu,
                                        std::chrono::milliseconds deadline);

// [ranks] The entry of each rank's environment that says by which adapters its messages go (topology/adapters.h): of
// NCCL, where that may move them, else of UCX; "" for none. Collective over `world`.
std::vector<std::string> gather_adapter_choices(const Communicator& world, const Environment& environment,
                                                bool by_nccl);

}  // namespace trireme
