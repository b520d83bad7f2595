#pragma once

#include <functional>
#include <string>
#include <vector>

#include "topology/placement.h"

namespace trireme {

// What a handshake measured (Machine::measured_links), for people. Pure.

// "0.4 us and 9.8 GB/s at worst (ranks 0-1, one NUMA node, shm)" of those links that `counts` holds for: the longest
// latency and the least bandwidth, which may be of two links; "" where it holds for none.
std::string worst_text(const Machine& machine, const Links& links,
                       const std::function<bool(const MeasuredLink&)>& counts);

// "tp ..., hops ...": the worst of all groups, and of all hops.
std::string links_text(const Machine& machine, const Links& links, const Layout& layout);

// A remark for each class of links of which some are slower than the map lets expect: far slower than the median of the
// class in this job, or than any sound link of it; or between GPUs that do not open each other's memory, though the map
// says they can. None of ranks that share CPUs or a GPU, for then the figures say nothing of the link; nor of GPUs that
// the driver does not show. threads: of a rank, 0 for auto, as for `links`.
std::vector<std::string> slow_links(const Machine& machine, const Links& links, int threads);

}  // namespace trireme
