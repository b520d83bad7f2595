#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/host_device.h"

namespace trireme {

// exp, log and tanh of FP32, ours, so that no libm has a say in the bits. Each instruction set repeats these very
// steps, lane by lane; errors are below 2 ulp (tests/kernels/elementary_test.cpp).
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLn2High = 0x1.62e4p-1f;  // 15 bits: n * kLn2High is exact for |n| < 512
inline constexpr float kLn2Low = 0x1.7f7d1cp-20f;

// Below and above, exp is 0 and infinity in FP32.
inline constexpr float kExpLowest = -110.0f, kExpHighest = 89.0f;
inline constexpr float kExpTaylor[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};

TRIREME_HD inline float power_of_two(int n) { return std::bit_cast<float>(static_cast<uint32_t>(n + 127) << 23); }

// e^x = 2^n e^r, |r| <= ln 2 / 2. A NaN stays one.
TRIREME_HD inline float exp_float(float x) {
  if (x < kExpLowest) x = kExpLowest;
  if (x > kExpHighest) x = kExpHighest;
  if (x != x) return x;
  float n = std::nearbyint(x * kLog2E);
  float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  constexpr auto taylor = std::to_array(kExpTaylor);  // a copy, since CUDA does not reach the host's constants
  float sum = taylor[0];
  for (size_t i = 1; i < taylor.size(); i++) sum = std::fma(sum, r, taylor[i]);
  int exponent = static_cast<int>(n), half = exponent >> 1;  // in two steps: 2^n alone may not be a normal number
  return sum * power_of_two(half) * power_of_two(exponent - half);
}

// e^x for x <= 0, of weights that become BF16: 2^n P(f), f within half of 0, P a minimax fit (3e-6 of the result off)
// and 1 at 0. What is below e^-80 need not be told from it, so that 2^n is one shift. A NaN stays one; no step
// branches.
inline constexpr float kLowestWeight = -80.0f;
inline constexpr float kPowerFit[] = {0x1.3a02dp-7f, 0x1.c9fc48p-5f, 0x1.ec0378p-3f, 0x1.62e12cp-1f, 1.0f};
TRIREME_HD inline float exp_weight(float x) {
  constexpr float kRounder = 0x1.8p23f;  // added, it leaves the nearest integer in the lowest bits
  const float t = (x < kLowestWeight ? kLowestWeight : x) * kLog2E, shifted = t + kRounder,
              f = t - (shifted - kRounder);
  constexpr auto fit = std::to_array(kPowerFit);
  float sum = fit[0];
  for (size_t i = 1; i < fit.size(); i++) sum = std::fma(sum, f, fit[i]);
  return sum * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000u);
}

// log x = e ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), m in [sqrt(1/2), sqrt(2)): x positive and normal.
inline constexpr float kAtanhSeries[] = {1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3};
inline constexpr uint32_t kSqrtHalfBits = 0x3f3504f3u;

TRIREME_HD inline float log_float(float x) {
  uint32_t shifted = std::bit_cast<uint32_t>(x) - kSqrtHalfBits;
  int exponent = static_cast<int32_t>(shifted) >> 23;
  float m = std::bit_cast<float>((shifted & 0x007fffffu) + kSqrtHalfBits);
  float f = m - 1.0f, s = f / (m + 1.0f), s2 = s * s, e = static_cast<float>(exponent);
  constexpr auto series = std::to_array(kAtanhSeries);
  float sum = series[0];
  for (size_t i = 1; i < series.size(); i++) sum = std::fma(sum, s2, series[i]);
  float twice = s + s;
  float log_m = std::fma(twice * s2, sum, twice);
  return std::fma(e, kLn2High, std::fma(e, kLn2Low, log_m));
}

// tanh x = x + x^3 P(x^2) below kTanhSmall, where P is a minimax fit (0.08 of half an ulp off); above, 1 - 2 / (e^2x +
// 1) loses nothing. Odd; a NaN stays one.
inline constexpr float kTanhSmall = 0.625f;
inline constexpr float kTanhFit[] = {-0x1.75ddcep-8f, 0x1.5225c0p-6f, -0x1.b83c3ap-5f, 0x1.110726p-3f, -0x1.555532p-2f};

TRIREME_HD inline float tanh_float(float x) {
  constexpr auto fit = std::to_array(kTanhFit);
  float a = std::fabs(x), a2 = a * a, sum = fit[0];
  for (size_t i = 1; i < fit.size(); i++) sum = std::fma(sum, a2, fit[i]);
  float small = std::fma(a * a2, sum, a), large = 1.0f - 2.0f / (exp_float(a + a) + 1.0f);
  return std::copysign(a < kTanhSmall ? small : large, x);
}
TRIREME_HD inline float soft_cap(float x, float cap) { return cap * tanh_float(x / cap); }

TRIREME_HD inline float silu(float x) { return x / (1.0f + exp_float(-x)); }

// x / 2 * (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3): without the cancellation below 0.
inline constexpr float kGeluLinear = 0x1.988454p+0f;  // 2 sqrt(2 / pi)
inline constexpr float kGeluCubic = 0x1.2444f2p-4f;   // 0.044715 of that
TRIREME_HD inline float gelu_tanh(float x) {
  float twice_u = x * std::fma(x * x, kGeluCubic, kGeluLinear);
  return x / (1.0f + exp_float(-twice_u));
}

}  // namespace trireme
