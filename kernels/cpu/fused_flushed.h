#pragma once

#include <cmath>

namespace trireme {

inline constexpr float kSmallestNormal = 0x1p-126f;
inline float flush(float x) { return std::fabs(x) < kSmallestNormal ? std::copysign(0.0f, x) : x; }

// A multiply-add of VDPBF16PS, which works on pairs, the odd column first, each product fused and rounded to nearest
// even; subnormal operands and results count as zeros, whatever MXCSR says (Intel SDM; AMD Zen 5 gives the same bits,
// measured).
inline float fused_flushed(float x, float y, float sum) {
  x = flush(x), y = flush(y);
  float result = std::fma(x, y, sum);
  // A result is subnormal when it is so after rounding to 24 bits at unbounded exponent: ask again, scaled up.
  if (std::fabs(result) == kSmallestNormal) {
    (std::fabs(x) < 1 ? x : y) *= 0x1p64f;
    if (std::fabs(std::fma(x, y, sum * 0x1p64f)) < kSmallestNormal * 0x1p64f) return std::copysign(0.0f, result);
  }
  return flush(result);
}

}  // namespace trireme
