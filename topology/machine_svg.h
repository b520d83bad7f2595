#pragma once

#include <string>

#include "topology/machine.h"

namespace trireme {

// The machine as one picture, for a paper: nested boxes for hosts (alike ones once), packages, NUMA nodes and devices,
// lines with labels for NVLinks, PCIe and the network. A file of its own: no scripts, no fonts or images from outside.
std::string machine_svg(const Machine& machine);

}  // namespace trireme
