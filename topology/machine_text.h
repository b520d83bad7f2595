#pragma once

#include <string>
#include <vector>

#include "topology/machine.h"

namespace trireme {

// The machine for people, as a tree: hosts that are alike once, others with their differences from the first; their
// packages, NUMA nodes, CPUs, GPUs and adapters; how GPUs and adapters reach each other; what limits hold; the ranks.
std::string machine_tree(const Machine& machine);

// "a, b, c"; of many the first ones and the last.
std::string host_names(const Machine& machine, const std::vector<int>& hosts);

// What of a host hangs on one NUMA node.
struct NumaPart {
  int node = 0;  // -1: what is of no known node
  std::vector<int> cpus;
  int cores = 0;
  std::vector<const Gpu*> gpus;
  std::vector<const HostNic*> nics;
};
struct PackagePart {
  int package = 0;  // -1: of no known one
  std::vector<NumaPart> nodes;
};
// Packages and nodes in ascending order, what is unknown last. Points into `host`.
std::vector<PackagePart> parts_of(const Host& host);

// How a GPU reaches another of its host: "NVSwitch", "NVLink x12", or over PCI as below; marked where its driver says
// that it may not read the other's memory, so that data passes through the host's.
constexpr const char* kNoPeerAccess = "!";
std::string gpu_relation(const Gpu& a, const Gpu& b);
// "switch": behind one PCI switch; "bridge": at one host bridge; "node": of one NUMA node; "sockets"; "?": unknown.
std::string pci_relation(const std::vector<std::string>& path_a, int numa_a, const std::vector<std::string>& path_b,
                         int numa_b);

}  // namespace trireme
