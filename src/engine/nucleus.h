#pragma once

#include <optional>
#include <span>

#include "engine/ranked_tokens.h"

namespace trireme {

// Sums over a vocabulary by its units, in their order (docs/numerics.md), from what kernels found in each. FP64.

// log(sum of exp(logit)), rounded to FP32.
float log_sum_exp(std::span<const ExpSum> units);
// The sum of exp((logit - most) / temperature), units of sums at that temperature. most: no logit is larger.
double exp_sum(std::span<const ExpSum> units, float most, float temperature);

// How many of the ranked tokens top_k (0: off) and top_p (1: off) leave: the first top_k; of these the fewest whose
// probabilities at the temperature reach top_p among them, one at least. total: where top_k is off, the exp_sum() of
// the vocabulary below the first of them. Nothing where it rests on more than the first `known` tokens.
struct Cut {
  float temperature = 1, top_p = 1;
  int32_t top_k = 0;
};
std::optional<size_t> tokens_kept(RankedTokens& ranked, const Cut& cut, size_t known, double total);

}  // namespace trireme
