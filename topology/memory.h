#pragma once

#include <cstdint>
#include <string>

namespace trireme {

struct Memory {
  int64_t total_bytes = 0, available_bytes = 0;
};
// From proc/meminfo and the memory cgroups (v1 and v2) under `root`: "/" but in tests.
Memory probe_memory(const std::string& root);

}  // namespace trireme
