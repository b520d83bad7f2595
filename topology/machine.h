#pragma once

#include <span>
#include <string>
#include <vector>

#include "topology/probe.h"

namespace trireme {

// The map of a job's ranks, from their gathered probes: pure data. Hosts are told apart by their kernels, so that two
// containers on one host are known to share its CPUs and memory.
struct Machine {
  std::vector<RankProbe> ranks;
  std::vector<int> host_of;  // [ranks] index of the host, in the order of its lowest rank
  int hosts = 0;

  static Machine of(std::vector<RankProbe> probes);

  std::vector<int> ranks_on(int host) const;
  // Ranks whose weights and cache lie in the same memory: those of a GPU, or of a host's CPUs.
  std::vector<int> sharing_memory_with(int rank) const;
  // Bytes that a rank may count on: an equal part of what is free in that memory.
  int64_t available_bytes(int rank) const;
  // One line a host: names, ranks, CPUs, memory, and how memory is shared where that splits the host.
  std::string text() const;
};

}  // namespace trireme
