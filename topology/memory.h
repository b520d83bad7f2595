#pragma once

#include <cstdint>
#include <string>

namespace trireme {

// total, available: of the machine, or of the control group where that is less.
struct Memory {
  int64_t machine_bytes = 0, total_bytes = 0, available_bytes = 0;
};
// From proc/meminfo and the memory cgroups under `root`: "/" but in tests.
Memory probe_memory(const std::string& root);

}  // namespace trireme
