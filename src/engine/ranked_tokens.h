#pragma once

#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace trireme {

// The tokens of one row, from the largest logit down, ties by lower id: ranked as far as somebody asks. Logits are
// numbers, infinities included.
class RankedTokens {
 public:
  void clear();
  // Before anything is asked.
  void add(std::span<const TokenLogit> tokens);  // those of -1 are none
  void add(std::span<const float> logits, int32_t first_token);

  size_t size() const { return tokens_.size(); }
  const TokenLogit& operator[](size_t i);  // i < size(); holds until a later one is asked for

 private:
  std::vector<TokenLogit> tokens_;
  size_t ranked_ = 0;  // the first of tokens_
};

}  // namespace trireme
