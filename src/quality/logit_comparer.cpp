#include "quality/logit_comparer.h"

#include <algorithm>

#include "quality/divergence.h"

namespace trireme {

int64_t LogitComparer::bytes(int64_t window_tokens, int64_t vocab_size) {
  return (window_tokens - 1) * vocab_size * static_cast<int64_t>(sizeof(float));
}

LogitComparer::LogitComparer(int64_t window_tokens, int64_t vocab_size)
    : vocab_size_(static_cast<size_t>(vocab_size)),
      kept_(static_cast<size_t>(bytes(window_tokens, vocab_size)), "the reference's logits of one window") {}

std::span<float> LogitComparer::kept(int32_t position) const {
  return kept_.span<float>().subspan(static_cast<size_t>(position) * vocab_size_, vocab_size_);
}

void LogitComparer::begin(int32_t first_scored) {
  first_scored_ = first_scored;
  windows_.emplace_back();
}

void LogitComparer::keep(int32_t position, std::span<const float> logits) {
  std::copy(logits.begin(), logits.end(), kept(position).begin());
}

void LogitComparer::compare(int32_t position, std::span<const float> logits) {
  if (position + 1 < first_scored_) return;
  const Divergence d = divergence(kept(position), logits);
  Comparison& c = windows_.back();
  c.kl += d.kl;
  c.agreements += d.reference_top == d.tested_top;
  if (d.kl <= c.worst_kl) return;
  c.worst_kl = d.kl;
  c.worst_index = position + 1;
  c.worst_top = d.tested_top;
  c.worst_reference_top = d.reference_top;
}

}  // namespace trireme
