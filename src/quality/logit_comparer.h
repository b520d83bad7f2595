#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"

namespace trireme {

// What two sides' predictions of one window add up to. Travels between ranks as bytes.
struct Comparison {
  double kl = 0;           // (reference || tested), over the scored positions
  int64_t agreements = 0;  // where both find the same token likeliest
  double worst_kl = -1;
  int32_t worst_index = 0;  // in the window, of the token that was predicted
  int32_t worst_top = -1, worst_reference_top = -1;
};

// Keeps the reference's logits of one window and compares the tested ones to them, as they come.
class LogitComparer {
 public:
  LogitComparer(int64_t window_tokens, int64_t vocab_size);
  static int64_t bytes(int64_t window_tokens, int64_t vocab_size);

  // A new window; its tokens from `first_scored` on count.
  void begin(int32_t first_scored);
  // Of the position that predicts token position + 1: first all of the reference, then all of the tested side.
  void keep(int32_t position, std::span<const float> logits);
  void compare(int32_t position, std::span<const float> logits);
  const std::vector<Comparison>& windows() const { return windows_; }  // one for each begin()

 private:
  std::span<float> kept(int32_t position) const;

  size_t vocab_size_;
  Buffer kept_;  // [window_tokens - 1, vocab] FP32
  int32_t first_scored_ = 0;
  std::vector<Comparison> windows_;
};

}  // namespace trireme
