#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "topology/gpu.h"
#include "topology/nic.h"

namespace trireme {

// A logical CPU. Those of one core share its arithmetic, those of one NUMA node its memory. Nodes, and packages, are
// numbered as the kernel and hwloc count them.
struct Cpu {
  int id = 0;    // as the kernel counts
  int core = 0;  // as hwloc counts
  int numa = 0;
  int package = 0;
  bool operator==(const Cpu&) const = default;
};

constexpr size_t kMostCpus = 1 << 14;  // of a host that somebody describes

// One machine as a process sees it: data, that can be probed, read or invented. Sizes in bytes; 0 or "": unknown or
// none.
struct Host {
  std::string name;
  std::string boot_id;    // of the kernel: equal where CPUs and memory are the same, whatever the names say
  std::string cpu_model;  // "AMD EPYC 7763 64-Core Processor"
  std::vector<Cpu> cpus;  // ascending ids
  uint64_t l2_bytes = 0, l3_bytes = 0;  // of one cache
  int l3_caches = 0;
  uint64_t machine_memory_bytes = 0;           // all that is built in
  uint64_t memory_bytes = 0;                   // of the machine, or of the control group where that is less
  uint64_t memory_available_bytes = 0;         // of these, not in use
  uint64_t shm_bytes = 0, shm_free_bytes = 0;  // /dev/shm
  double read_gbps = 0;                        // 10^9 bytes/s that its ranks read from memory at once, measured; 0: not
  std::string huge_pages;                      // "always", "madvise", "never" or ""
  GpuProbe gpus;
  std::vector<HostNic> nics;
  bool operator==(const Host&) const = default;

  int packages() const;
  int numa_nodes() const;
  int cores() const;
  const Cpu* find_cpu(int id) const;  // null: it has none of that number
  // The GPU of that UUID, or that has the instance of that UUID; null: none.
  const Gpu* find_gpu(const std::string& uuid) const;
  // The NUMA nodes, and packages, that these CPUs belong to, ascending.
  std::vector<int> numa_of(const std::vector<int>& cpu_ids) const;
  std::vector<int> packages_of(const std::vector<int>& cpu_ids) const;
};

// Asks hwloc, the kernel and the drivers. Drivers that are missing, a VM without PCI paths and odd files of sysfs are
// normal: what is not known stays unknown.
Host probe_host();
// CPUs and memory of a machine that does not exist: an hwloc description ("package:2 numa:1 core:8 pu:2"). Throws
// Error(usage) when hwloc cannot read it, or it has more than kMostCpus.
Host invent_host(const std::string& description);

// Several lines for people, each indented by two spaces.
std::string host_text(const Host& host);
// "0-3,8": a list of CPUs; "none". Read again it is ascending; nothing where it is no such list.
std::string cpu_list(const std::vector<int>& cpus);
std::optional<std::vector<int>> parse_cpu_list(std::string_view text);

}  // namespace trireme
