#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// A folder of one of the kernel's cgroups that hold this process; version 1 and 2 name their files differently.
struct ControlGroup {
  std::filesystem::path folder;
  bool version1 = false;
};
// Those of a controller ("memory", "cpu"), its own group first, then the ones above it: each limits all below. From
// proc/self/cgroup and sys/fs/cgroup under `root`: "/" but in tests.
std::vector<ControlGroup> control_groups(const std::string& root, std::string_view controller);

// How many CPUs' time the control groups leave to this process (docker run --cpus, systemd's CPUQuota), however many
// CPUs it may run on; 0: as much as there is.
double probe_cpu_quota(const std::string& root);

}  // namespace trireme
