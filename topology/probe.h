#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace trireme {

// A logical CPU. Those of one core share its arithmetic, those of one NUMA node its memory.
struct Cpu {
  int id = 0;    // as the kernel counts
  int core = 0;  // as hwloc counts
  int numa = 0;
  bool operator==(const Cpu&) const = default;
};

// What one rank sees of its host.
struct RankProbe {
  std::string host;
  std::string boot_id;          // of the kernel: equal where CPUs and memory are the same, whatever the names say
  std::vector<Cpu> cpus;        // of the host, ascending
  std::vector<int> allowed;     // ids that the launcher left to this rank
  int64_t memory_bytes = 0;     // of the host or, when smaller, of the job's cgroup
  int64_t available_bytes = 0;  // of these, not in use
  std::string gpu;              // UUID of the GPU that this rank computes on; "": on the CPUs
  int64_t gpu_available_bytes = 0;
  int domain = 0;  // lowest rank that proved to share memory with this one (Fabric::domain)
  bool operator==(const RankProbe&) const = default;
};

RankProbe probe_rank();
// A machine that does not exist: a synthetic description of hwloc, "package:2 numa:1 core:8 pu:2". All is allowed; the
// memory is what hwloc says.
RankProbe invent_rank(const std::string& synthetic);

struct Memory {
  int64_t total_bytes = 0, available_bytes = 0;
};
// From proc/meminfo and the memory cgroups (v1 and v2) under `root`: "/" but in tests.
Memory probe_memory(const std::string& root);

void to_json(nlohmann::json& json, const RankProbe& probe);
void from_json(const nlohmann::json& json, RankProbe& probe);

}  // namespace trireme
