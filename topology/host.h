#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme {

// One machine as this process sees it: data, that can be probed or invented. Sizes in bytes; 0: unknown or none.
struct Host {
  std::string name;
  std::string cpu_model;
  int packages = 0, numa_nodes = 0, cores = 0, cpus = 0;  // cpus: logical
  uint64_t l2_bytes = 0, l3_bytes = 0;                    // of one cache
  int l3_caches = 0;
  std::vector<int> allowed_cpus;               // the mask that the launcher gave this process
  std::vector<int> allowed_numa_nodes;         // those that the allowed CPUs belong to
  uint64_t memory_bytes = 0;                   // of the machine, or of the control group where that is less
  uint64_t memory_available_bytes = 0;         // now
  uint64_t shm_bytes = 0, shm_free_bytes = 0;  // /dev/shm
  std::string huge_pages;                      // "always", "madvise", "never" or ""
};

// Asks hwloc and the kernel. `synthetic`: an hwloc description ("package:2 numa:1 core:8 pu:2") that takes the place of
// this machine's CPUs and caches. Throws Error(usage) when hwloc cannot read it.
Host probe_host(const std::string& synthetic = "");

// Several lines for people, each indented by two spaces.
std::string host_text(const Host& host);
// "0-3,8": a list of CPUs.
std::string cpu_list(const std::vector<int>& cpus);

}  // namespace trireme
