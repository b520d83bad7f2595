#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "kernels/cpu/inner.h"
#include "kernels/kernels.h"
#include "kernels/token_order.h"

namespace trireme {

// A row of BestTokens. Most of a vocabulary is below what the first few hundred tokens have shown: a vector loop finds
// the few that are not, and when there are many of them, the best are chosen and the bar is raised.
inline void best_of_row(PlacesFound (*places_above)(const PlacesAbove&), const float* logits, const BestTokens& a,
                        TokenLogit* out) {
  constexpr int32_t kRoom = 2 * kMostBest;
  int32_t places[kRoom];
  uint64_t best[kMostBest + kRoom];
  const auto keep = [&](int32_t n) {  // of the first n those that count
    if (n <= a.count) return n;
    std::nth_element(best, best + a.count - 1, best + n, std::greater<>());
    return a.count;
  };
  // The first ones are taken whatever they are; after these an equal one would have a higher id.
  int32_t found = std::min(a.count, a.tokens), next = found;
  for (int32_t t = 0; t < found; t++) best[t] = token_order(logits[t], t);
  while (next < a.tokens) {
    const uint64_t worst = *std::min_element(best, best + found);
    const PlacesFound more = places_above({logits, next, a.tokens, logits[token_of(worst)], places, kRoom});
    for (int32_t i = 0; i < more.places; i++) best[found + i] = token_order(logits[places[i]], places[i]);
    found = keep(found + more.places);
    next = more.next;
  }
  std::sort(best, best + found, [](uint64_t x, uint64_t y) { return token_of(x) < token_of(y); });
  for (int32_t i = 0; i < a.count; i++) {
    const int32_t t = i < found ? token_of(best[i]) : -1;
    out[i] = t < 0 ? TokenLogit{} : TokenLogit{logits[t], a.first_token + t};
  }
}

}  // namespace trireme
