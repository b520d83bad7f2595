#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "topology/machine.h"

namespace trireme {

// How two ranks reach each other, the fastest first. The order is what placement goes by; how fast each is, a group's
// handshake measures.
enum class LinkClass : uint8_t {
  device,    // they share a GPU or MIG instance, or their CPUs
  nvswitch,  // GPUs on one fabric of NVSwitches, of several hosts, too
  nvlink,    // GPUs with NVLinks between them
  pcie,      // GPUs of one NUMA node that read each other's memory over PCIe
  numa,      // CPUs of one NUMA node
  staged,    // GPUs of one NUMA node, or MIG instances, that pass through the host's memory
  package,   // CPUs, or GPUs at CPUs, of one socket's NUMA nodes
  sockets,   // of one host's sockets
  network,   // of two hosts, or of containers that share no memory
};
const char* link_class_name(LinkClass link);  // "NVSwitch", "the sockets' link"
// A tensor-parallel group over such a link is slower than its host's best: two sums a layer wait for it.
constexpr bool is_slow(LinkClass link) { return link >= LinkClass::staged; }
// And a mistake, which wants --allow-slow-placement: a group across hosts is what somebody who gives --tp may want.
constexpr bool is_refused(LinkClass link) { return is_slow(link) && link != LinkClass::network; }

// How the ranks of a machine reach each other. Pure: asks the map alone. threads: of a rank, 0 for auto (threads.h),
// because they say which CPUs a rank has.
class Links {
 public:
  Links(const Machine& machine, int threads);

  LinkClass between(int a, int b) const;
  // The slowest between any two of them; `device` for one alone.
  LinkClass slowest(std::span<const int> ranks) const;
  // The slowest between ranks of equal place in two stages.
  LinkClass slowest_hop(std::span<const int> stage, std::span<const int> next) const;
  // Sets of ranks that links of at most this class join, in the order of their lowest ranks, each ascending. Those of a
  // faster class lie inside those of a slower one.
  std::vector<std::vector<int>> components(LinkClass link) const;

 private:
  struct Site {
    bool pinned = false;
    std::vector<int> numa, packages;  // that its CPUs belong to
    const Gpu* gpu = nullptr;
  };

  const Machine& machine_;
  std::vector<Site> sites_;  // [ranks]
};

}  // namespace trireme
