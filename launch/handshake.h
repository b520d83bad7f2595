#pragma once

#include "base/log.h"
#include "comm/collective.h"
#include "launch/options.h"
#include "topology/placement.h"

namespace trireme {

// By which adapters the messages of each rank go, as its environment has it: of NCCL where that may move them (on GPUs,
// unless --nccl off), else of UCX. A choice against the map is refused, or becomes a remark of the layout with
// --allow-slow-placement. Collective over `world`; throws on all ranks alike.
void check_adapters(const Communicator& world, const Options& options, bool on_gpu, const Machine& machine,
                    const Links& links, Layout& layout);

// Before anything relies on them: latency and bandwidth of every pair of a TP group and of every hop between stages,
// into `machine`, the same on all ranks. Pairs that have no rank in common are measured at once, a few milliseconds
// each: copies between GPUs that open each other's memory (gpu: this rank's, or null), else messages between hosts'
// memories. What is to be said of the placement goes to `log` and, where it is asked for, to stderr. Collective.
void prove_links(Communicator& world, Fabric& fabric, const Options& options, Device* gpu, const Layout& layout,
                 Machine& machine, Log& log);

}  // namespace trireme
