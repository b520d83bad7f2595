#pragma once

#include <string>

#include "topology/cluster.h"
#include "topology/machine.h"

namespace trireme {

constexpr int kMostInvented = 64;  // devices of a host

// A machine that does not exist, as a probe would have found it: one rank on each GPU, or on each CPU socket. What the
// description leaves open is assumed: a host of GPUs has two sockets of 32 cores, each with a NUMA node; GPUs and
// adapters are spread over them evenly, each adapter behind the PCI switch of a GPU. GeForce
// cards do not read each other's memory over PCIe. What nobody can know from it (the host's memory beside GPUs,
// drivers) stays unknown.
// Throws Error(usage) where it would have more than kMostInvented devices on a host, 8 adapters a device or 16384
// devices.
Machine invent_machine(const Cluster& cluster);
// The same of a text: a Cluster's ("2 hosts x 8 h100 nvswitch, 8 ib400") or, of one host without GPUs, hwloc's
// ("package:2 numa:1 core:8 pu:2"). Throws Error(usage) when it is neither, or has more than kMostCpus.
Machine invent_machine(const std::string& description);

}  // namespace trireme
