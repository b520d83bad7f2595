#pragma once

#include <hwloc.h>

#include <string>

namespace trireme {

// hwloc's view of this machine or, when `synthetic` is not empty, of the one it describes. Owns it.
class HwlocTopology {
 public:
  explicit HwlocTopology(const std::string& synthetic = "");  // throws Error(usage) for a description it cannot read
  ~HwlocTopology() { hwloc_topology_destroy(handle_); }
  HwlocTopology(const HwlocTopology&) = delete;
  HwlocTopology& operator=(const HwlocTopology&) = delete;
  hwloc_topology_t handle() const { return handle_; }

 private:
  hwloc_topology_t handle_ = nullptr;
};

}  // namespace trireme
