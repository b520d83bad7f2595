#include "topology/control_group.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>

namespace trireme {

namespace {

namespace fs = std::filesystem;

double quota_of(const ControlGroup& group) {
  double quota = 0, period = 0;
  if (group.version1) {
    std::ifstream(group.folder / "cpu.cfs_quota_us") >> quota;  // -1: none
    std::ifstream(group.folder / "cpu.cfs_period_us") >> period;
  } else {
    std::ifstream(group.folder / "cpu.max") >> quota >> period;  // "max 100000": none
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

}  // namespace

std::vector<ControlGroup> control_groups(const std::string& root, std::string_view controller) {
  // Lines of "id:controllers:path"; version 2 has id 0 and no controllers. In a container the path may not be mounted,
  // and the limits stand at the top instead.
  std::vector<ControlGroup> groups;
  std::ifstream lines(fs::path(root) / "proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    const bool version1 = fmt::format(",{},", controllers).find(fmt::format(",{},", controller)) != std::string::npos;
    if (!version1 && !controllers.empty()) continue;
    const fs::path all = fs::path(root) / "sys/fs/cgroup", top = version1 ? all / controller : all;
    fs::path group = top / fs::path(path).relative_path();
    std::error_code error;
    if (!fs::exists(group, error) || path.find("..") != std::string::npos) group = top;
    if (!group.has_filename()) group = group.parent_path();
    for (;; group = group.parent_path()) {
      groups.push_back({group, version1});
      if (group == top || !group.has_relative_path()) break;
    }
  }
  return groups;
}

double probe_cpu_quota(const std::string& root) {
  double least = 0;
  for (const ControlGroup& group : control_groups(root, "cpu"))
    if (const double quota = quota_of(group); quota > 0) least = least > 0 ? std::min(least, quota) : quota;
  return least;
}

}  // namespace trireme
