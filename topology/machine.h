#pragma once

#include <optional>
#include <string>
#include <vector>

#include "topology/host.h"

namespace trireme {

// What one rank was given of its host.
struct Rank {
  std::string host_name;                  // as this rank knows it: containers on one host have names of their own
  std::vector<int> allowed;               // ids of the CPUs that the launcher left to it, ascending
  double cpu_quota = 0;                   // CPUs' worth of time that its control group leaves to it; 0: no limit
  int64_t available_bytes = 0;            // memory that is not in use, in its control group
  std::vector<std::string> visible_gpus;  // UUIDs, as CUDA counts them
  std::string gpu;                        // UUID of the GPU that it computes on; "": on the CPUs
  int64_t gpu_available_bytes = 0;
  int domain = 0;  // lowest rank that proved to share memory with this one (Fabric::domain)
  bool operator==(const Rank&) const = default;
};

// What one process knows: its host, and its own part of it.
struct RankProbe {
  Host host;
  Rank rank;
};
// cuda_visible_devices: the variable of that name, nothing where it is unset.
RankProbe probe_rank(const std::optional<std::string>& cuda_visible_devices);

// What was measured between two ranks, one way.
struct MeasuredLink {
  int from = 0, to = 0;
  double latency_us = 0;
  double gbps = 0;        // 10^9 bytes/s
  std::string transport;  // "shm", "ucx", kPeerCopies
  bool operator==(const MeasuredLink&) const = default;
};
constexpr const char* kPeerCopies = "peer copies";  // one GPU's of the other's memory

// The map of a job: hosts, and ranks on them. Pure data: gathered from every rank's probe, read from a file
// (topology/machine_json.h), or invented. Hosts are told apart by their kernels, so that two containers on one host are
// known to share its CPUs and memory.
struct Machine {
  std::vector<Host> hosts;  // in the order of their lowest ranks
  std::vector<Rank> ranks;
  std::vector<int> host_of;                  // [ranks] index into `hosts`
  std::vector<MeasuredLink> measured_links;  // of some pairs of ranks, or none
  bool operator==(const Machine&) const = default;

  // Of probes of one host the first counts, but its GPUs are those that any of them saw.
  static Machine of(std::vector<RankProbe> probes);

  int size() const { return static_cast<int>(ranks.size()); }
  const Host& host_of_rank(int rank) const { return hosts[static_cast<size_t>(host_of[static_cast<size_t>(rank)])]; }
  // The GPU that `rank` computes on; null: none, or its driver does not show it.
  const Gpu* gpu_of_rank(int rank) const;
  std::vector<int> ranks_on(int host) const;
  // Ranks whose weights and cache lie in the same memory: those of a GPU, or of a host's CPUs.
  std::vector<int> sharing_memory_with(int rank) const;
  // Bytes that a rank may count on: an equal part of what is free in that memory.
  int64_t available_bytes(int rank) const;
  // One line a host: names, ranks, CPUs, memory, and how memory is shared where that splits the host.
  std::string text() const;
};

}  // namespace trireme
