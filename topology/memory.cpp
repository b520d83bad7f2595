#include "topology/memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "topology/control_group.h"

namespace trireme {

namespace {

namespace fs = std::filesystem;
constexpr int64_t kNoLimit = int64_t{1} << 60;  // cgroup v1 says "no limit" with a number near 2^63

std::optional<int64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value && value >= 0 ? std::optional(value) : std::nullopt;  // "max" is none
}

// Bytes of file cache that the kernel would give back, which a cgroup counts as used.
int64_t reclaimable(const fs::path& group) {
  std::ifstream file(group / "memory.stat");
  int64_t bytes = 0, value = 0;
  for (std::string key; file >> key >> value;)
    if (key == "inactive_file") bytes = value;
  return bytes;
}

void apply_limits(const ControlGroup& group, Memory& memory) {
  const auto limit = read_number(group.folder / (group.version1 ? "memory.limit_in_bytes" : "memory.max"));
  if (!limit || *limit >= kNoLimit) return;
  const auto usage = read_number(group.folder / (group.version1 ? "memory.usage_in_bytes" : "memory.current"));
  const int64_t used = std::max<int64_t>(0, usage.value_or(0) - reclaimable(group.folder));
  memory.total_bytes = std::min(memory.total_bytes, *limit);
  memory.available_bytes = std::min(memory.available_bytes, std::max<int64_t>(0, *limit - used));
}

}  // namespace

Memory probe_memory(const std::string& root) {
  Memory memory;
  std::ifstream info(fs::path(root) / "proc/meminfo");
  int64_t kib = 0;
  for (std::string key, unit; info >> key >> kib && std::getline(info, unit);) {
    if (key == "MemTotal:") memory.total_bytes = kib << 10;
    if (key == "MemAvailable:") memory.available_bytes = kib << 10;
  }
  memory.machine_bytes = memory.total_bytes;
  for (const ControlGroup& group : control_groups(root, "memory")) apply_limits(group, memory);
  return memory;
}

}  // namespace trireme
