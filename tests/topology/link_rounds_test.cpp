#include "topology/link_rounds.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace trireme;

namespace {

// Ranks are dealt out in an order of their own, so that no number is a coordinate by chance.
Layout layout_of(const Degrees& degrees) {
  Layout layout{degrees, {}, {}};
  for (int tp = 0; tp < degrees.tp; tp++)
    for (int dp = 0; dp < degrees.dp; dp++)
      for (int pp = degrees.pp - 1; pp >= 0; pp--) layout.at.push_back({tp, pp, dp});
  return layout;
}

bool are_linked(const Coordinates& a, const Coordinates& b) {
  const bool hop = a.tp == b.tp && std::abs(a.pp - b.pp) == 1, group = a.pp == b.pp && a.tp != b.tp;
  return a.dp == b.dp && (hop || group);
}

}  // namespace

TEST_CASE("every pair of a group and every hop stands once, and no rank twice in a round") {
  for (const Degrees& degrees : {Degrees{2, 1, 1},
                                 {3, 1, 1},
                                 {4, 1, 2},
                                 {7, 1, 1},
                                 {8, 1, 1},
                                 {64, 1, 1},
                                 {1, 2, 1},
                                 {1, 3, 2},
                                 {1, 5, 1},
                                 {2, 2, 1},
                                 {3, 4, 2},
                                 {6, 3, 1}}) {
    CAPTURE(degrees_name(degrees));
    const Layout layout = layout_of(degrees);
    std::set<RankPair> seen;
    for (const std::vector<RankPair>& round : link_rounds(layout)) {
      std::set<int> busy;
      for (const RankPair& pair : round) {
        CHECK(pair.low < pair.high);
        CHECK(busy.insert(pair.low).second);
        CHECK(busy.insert(pair.high).second);
        CHECK(seen.insert(pair).second);
      }
    }
    std::set<RankPair> expected;
    for (int a = 0; a < std::ssize(layout.at); a++)
      for (int b = a + 1; b < std::ssize(layout.at); b++)
        if (are_linked(layout.at[static_cast<size_t>(a)], layout.at[static_cast<size_t>(b)])) expected.insert({a, b});
    CHECK(seen == expected);
  }
}

TEST_CASE("all groups work side by side: rounds grow with a group, not with the job") {
  CHECK(link_rounds(layout_of({8, 1, 1})).size() == 7);
  CHECK(link_rounds(layout_of({7, 1, 1})).size() == 7);
  CHECK(link_rounds(layout_of({8, 1, 16})).size() == 7);
  CHECK(link_rounds(layout_of({8, 2, 1})).size() == 7 + 1);
  CHECK(link_rounds(layout_of({8, 5, 3})).size() == 7 + 2);
  for (const std::vector<RankPair>& round : link_rounds(layout_of({8, 1, 4}))) CHECK(round.size() == 4 * 4);
}

TEST_CASE("replicas of one rank have nothing to prove") { CHECK(link_rounds(layout_of({1, 1, 6})).empty()); }
