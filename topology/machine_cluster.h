#pragma once

#include "topology/cluster.h"
#include "topology/machine.h"

namespace trireme {

// Operations a second of all CPUs of a host that ranks may use, where somebody measured them; 0: nobody did.
struct CpuArithmetic {
  double bf16_flops = 0, int8_ops = 0;
};

// The planner's view of a map: equal hosts of equal devices. Of GPUs, those that some rank may use (of a map without
// ranks all), with their own memory and the rates of their data sheet; where a host has none, or shows its ranks none,
// the CPUs of each host as one device, whose cores ranks may divide. Hosts that differ count as the weakest of them, in
// each respect. What is measured, of a data sheet, or a guess stands in Cluster::remarks.
// Throws Error(configuration) naming a GPU of which there is no data sheet.
Cluster cluster_of(const Machine& machine, const CpuArithmetic& measured = {});

}  // namespace trireme
