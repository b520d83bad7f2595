#include "engine/ranked_tokens.h"

#include <algorithm>

namespace trireme {

namespace {

constexpr size_t kFewest = 64;  // that are ranked at once

bool is_before(const TokenLogit& a, const TokenLogit& b) { return RankBound{b.logit, b.token}.holds(a.logit, a.token); }

}  // namespace

void RankedTokens::clear() {
  tokens_.clear();
  ranked_ = 0;
}

void RankedTokens::add(std::span<const TokenLogit> tokens) {
  for (const TokenLogit& t : tokens)
    if (t.token >= 0) tokens_.push_back(t);
}

void RankedTokens::add(std::span<const float> logits, int32_t first_token) {
  for (float logit : logits) tokens_.push_back({logit, first_token++});
}

const TokenLogit& RankedTokens::operator[](size_t i) {
  if (i >= ranked_) {
    const size_t more = std::min(tokens_.size(), std::max(kFewest, 2 * (i + 1)));
    const auto at = [this](size_t place) { return tokens_.begin() + static_cast<std::ptrdiff_t>(place); };
    std::partial_sort(at(ranked_), at(more), tokens_.end(), is_before);
    ranked_ = more;
  }
  return tokens_[i];
}

}  // namespace trireme
