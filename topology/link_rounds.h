#pragma once

#include <vector>

#include "topology/placement.h"

namespace trireme {

struct RankPair {
  int low = 0, high = 0;  // low < high
  auto operator<=>(const RankPair&) const = default;
};

// Every pair of ranks of every tensor-parallel group, and every two ranks of equal place in neighbouring stages of a
// replica, once each: in rounds in which no rank stands twice, so that all groups can be measured side by side. Tp - 1
// rounds for the groups (tp where that is odd), then at most two for the hops; none where there is nothing to measure.
std::vector<std::vector<RankPair>> link_rounds(const Layout& layout);

}  // namespace trireme
