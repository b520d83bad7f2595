#include "topology/hwloc_topology.h"

#include "base/error.h"

namespace trireme {

HwlocTopology::HwlocTopology(const std::string& synthetic) {
  if (hwloc_topology_init(&handle_) != 0) fail(ExitCode::internal, "hwloc cannot start: {}", errno_text());
  if (!synthetic.empty() && hwloc_topology_set_synthetic(handle_, synthetic.c_str()) != 0) {
    hwloc_topology_destroy(handle_);
    fail(ExitCode::usage, "hwloc cannot read the machine '{}'; write it like 'package:2 numa:1 core:8 pu:2'",
         synthetic);
  }
  if (hwloc_topology_load(handle_) != 0) {
    hwloc_topology_destroy(handle_);
    fail(ExitCode::internal, "hwloc cannot probe this machine: {}", errno_text());
  }
}

}  // namespace trireme
