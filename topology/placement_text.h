#pragma once

#include <string>

#include "topology/placement.h"

namespace trireme {

// Where everything runs, for people: a line a rank (host, coordinates, device, NUMA nodes, network adapter), then a
// line for each TP group and each hop between stages, with the slowest link in it. Pure. threads: of a rank, 0 for
// auto, as for `links`.
std::string placement_text(const Machine& machine, const Links& links, const Layout& layout, int threads);

// A remark where ranks that exchange something with other hosts have their nearest adapter on another NUMA node; else
// none.
std::vector<std::string> far_adapters(const Machine& machine, const Links& links, const Layout& layout, int threads);

}  // namespace trireme
