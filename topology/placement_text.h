#pragma once

#include <string>

#include "topology/placement.h"

namespace trireme {

// Where everything runs, for people: a line a rank (host, coordinates, device, NUMA nodes, network adapter), then a
// line for each TP group and each hop between stages, with the slowest link in it, and with what was measured, if
// anything was. Pure. threads: of a rank, 0 for auto, as for `links`.
std::string placement_text(const Machine& machine, const Links& links, const Layout& layout, int threads);

}  // namespace trireme
