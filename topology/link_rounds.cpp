#include "topology/link_rounds.h"

#include <algorithm>

namespace trireme {

namespace {

RankPair pair_of(int a, int b) { return {std::min(a, b), std::max(a, b)}; }

// A tournament's circle: the last seat stays and meets every other, which sit in a ring and meet across the one that it
// meets. Where players are odd in number nobody has the last seat.
void add_tournament(const std::vector<int>& players, int round, std::vector<RankPair>& pairs) {
  const int ring = static_cast<int>(players.size() - 1) / 2 * 2 + 1;
  const auto player = [&](int seat) { return players[static_cast<size_t>(seat)]; };
  if (ring < std::ssize(players)) pairs.push_back(pair_of(player(ring), player(round)));
  for (int k = 1; 2 * k < ring; k++)
    pairs.push_back(pair_of(player((round + k) % ring), player((round - k + ring) % ring)));
}

}  // namespace

std::vector<std::vector<RankPair>> link_rounds(const Layout& layout) {
  std::vector<std::vector<RankPair>> rounds;
  for (int round = 0; round < (layout.tp - 1) / 2 * 2 + 1 && layout.tp > 1; round++) {
    std::vector<RankPair>& pairs = rounds.emplace_back();
    for (int dp = 0; dp < layout.dp; dp++)
      for (int pp = 0; pp < layout.pp; pp++) add_tournament(layout.group(pp, dp), round, pairs);
  }
  for (int from = 0; from < std::min(2, layout.pp - 1); from++) {  // from even stages, then from odd ones
    std::vector<RankPair>& pairs = rounds.emplace_back();
    for (int dp = 0; dp < layout.dp; dp++)
      for (int pp = from; pp + 1 < layout.pp; pp += 2) {
        const std::vector<int> stage = layout.group(pp, dp), next = layout.group(pp + 1, dp);
        for (size_t t = 0; t < stage.size(); t++) pairs.push_back(pair_of(stage[t], next[t]));
      }
  }
  return rounds;
}

}  // namespace trireme
