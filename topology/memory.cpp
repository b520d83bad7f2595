#include "topology/memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

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

// `group` and those above it up to `top`: each limits all below.
void apply_limits(fs::path group, const fs::path& top, const char* limit_name, const char* usage_name, Memory& memory) {
  for (;; group = group.parent_path()) {
    auto limit = read_number(group / limit_name);
    if (limit && *limit < kNoLimit) {
      int64_t used = std::max<int64_t>(0, read_number(group / usage_name).value_or(0) - reclaimable(group));
      memory.total_bytes = std::min(memory.total_bytes, *limit);
      memory.available_bytes = std::min(memory.available_bytes, std::max<int64_t>(0, *limit - used));
    }
    if (group == top || !group.has_relative_path()) return;
  }
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
  // Lines of "id:controllers:path"; version 2 has id 0 and no controllers. In a container the path may not be mounted,
  // and the limits stand at the top instead.
  std::ifstream groups(fs::path(root) / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    bool version1 = ("," + controllers + ",").find(",memory,") != std::string::npos;
    if (!version1 && !controllers.empty()) continue;
    fs::path top = fs::path(root) / (version1 ? "sys/fs/cgroup/memory" : "sys/fs/cgroup"),
             group = top / fs::path(path).relative_path();
    if (!fs::exists(group) || path.find("..") != std::string::npos) group = top;
    if (!group.has_filename()) group = group.parent_path();
    apply_limits(group, top, version1 ? "memory.limit_in_bytes" : "memory.max",
                 version1 ? "memory.usage_in_bytes" : "memory.current", memory);
  }
  return memory;
}

}  // namespace trireme
