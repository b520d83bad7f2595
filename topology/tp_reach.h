#pragma once

#include <array>

#include "topology/links.h"

namespace trireme {

// Whether each of so many groups of `tp` neighbours lies inside one of the sets of `size` that all of them divide into.
bool stay_inside(int tp, int groups, int size);

// How wide the TP groups of a host can be without its slow links: what a plan knows of the rule by which a run places
// groups (topology/placement.h), of hosts that nobody has started ranks on. Its units are ranks, or cores of which each
// rank gets some.
class TpReach {
 public:
  TpReach() = default;  // one unit, which has no links
  // Of one host's ranks, as the placement's own groups find it.
  static TpReach of(const Links& links, int ranks);
  // Of so many that all reach each other without a slow link.
  static TpReach all_of(int ranks);

  // Of so many groups of `tp` neighbouring units. Fast links are not told apart: they are `numa`.
  LinkClass slowest(int tp, int groups) const;
  TpReach shared_with(const TpReach& other) const;  // what both hosts allow
  TpReach of_parts(int units) const;                // of ranks of so many neighbouring units each

  bool operator==(const TpReach&) const = default;

 private:
  static constexpr std::array kClasses = {LinkClass::numa, LinkClass::staged, LinkClass::package, LinkClass::sockets};
  static_assert(static_cast<size_t>(LinkClass::network) - static_cast<size_t>(LinkClass::numa) == kClasses.size());
  // By class: sets of this many neighbours need no slower link.
  std::array<int, kClasses.size()> widest_ = {1, 1, 1, 1};
};

}  // namespace trireme
