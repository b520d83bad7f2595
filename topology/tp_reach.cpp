#include "topology/tp_reach.h"

#include <algorithm>
#include <numeric>

#include "topology/placement.h"

namespace trireme {

namespace {

bool all_reach(const Links& links, const std::vector<std::vector<int>>& sets, LinkClass link) {
  return std::ranges::all_of(sets, [&](const std::vector<int>& set) { return links.slowest(set) <= link; });
}

// Half of a group has no slower link than all of it, so that what divides the widest is as good.
int widest_within(const Links& links, int ranks, LinkClass link) {
  const std::vector<std::vector<int>> sets = links.components(link);
  int widest = 0;
  for (const std::vector<int>& set : sets) widest = std::gcd(widest, static_cast<int>(set.size()));
  if (all_reach(links, sets, link)) return std::max(1, widest);  // else a chain of bridges joins them
  for (int tp = widest; tp > 1; tp--)
    if (widest % tp == 0 && slowest_group_link(links, ranks, tp) <= link) return tp;
  return 1;
}

}  // namespace

bool stay_inside(int tp, int groups, int size) {
  const int period = size / std::gcd(size, tp);  // then they begin at a set's first again
  for (int g = 0; g < std::min(groups, period); g++)
    if (g * tp / size != (g * tp + tp - 1) / size) return false;
  return true;
}

TpReach TpReach::of(const Links& links, int ranks) {
  TpReach reach;
  for (size_t i = 0; i < kClasses.size(); i++) {
    const bool all = i > 0 && reach.widest_[i - 1] == ranks;
    reach.widest_[i] = all ? ranks : widest_within(links, ranks, kClasses[i]);
  }
  return reach;
}

TpReach TpReach::all_of(int ranks) {
  TpReach reach;
  reach.widest_.fill(ranks);
  return reach;
}

LinkClass TpReach::slowest(int tp, int groups) const {
  for (size_t i = 0; i < kClasses.size(); i++)
    if (stay_inside(tp, groups, widest_[i])) return kClasses[i];
  return LinkClass::network;  // of the next host, or of containers that share no memory
}

TpReach TpReach::shared_with(const TpReach& other) const {
  TpReach both;
  for (size_t i = 0; i < kClasses.size(); i++) both.widest_[i] = std::gcd(widest_[i], other.widest_[i]);
  return both;
}

TpReach TpReach::of_parts(int units) const {
  TpReach parts;
  for (size_t i = 0; i < kClasses.size(); i++) parts.widest_[i] = widest_[i] % units == 0 ? widest_[i] / units : 1;
  return parts;
}

}  // namespace trireme
