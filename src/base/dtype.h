#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "base/host_device.h"

namespace trireme {

enum class DType : uint8_t { f32, f16, bf16, u8 };

TRIREME_HD constexpr int dtype_bytes(DType type) { return type == DType::f32 ? 4 : type == DType::u8 ? 1 : 2; }
constexpr std::string_view dtype_name(DType type) {
  constexpr std::string_view names[] = {"f32", "f16", "bf16", "u8"};
  return names[static_cast<int>(type)];
}

struct BF16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};
// FP8 of the OCP specification: 4 bits of exponent (bias 7), 3 of mantissa, subnormals, no infinity; 0x7f and 0xff are
// NaN. The largest value is 448, and every value is one of BF16's.
struct E4M3 {
  uint8_t bits;
};

TRIREME_HD inline float to_float(BF16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

// Round to nearest even; a NaN stays a (quiet) NaN.
TRIREME_HD inline BF16 to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return BF16{static_cast<uint16_t>((u >> 16) | 0x40u)};
  return BF16{static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

// Exact: every FP16 value, subnormals included, is an FP32 value.
TRIREME_HD inline float to_float(F16 x) {
  uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  uint32_t exponent = (x.bits >> 10) & 31u, mantissa = x.bits & 1023u;
  if (exponent == 31u) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  float value = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -value : value;
}

// To nearest even; from 65520 on, half way from the largest number to 2^16, infinity. NaN stays NaN.
TRIREME_HD inline F16 to_f16(float x) {
  constexpr float kSubnormals = 0.5f;  // whose last bit is worth 2^-24, that of a subnormal F16
  constexpr uint32_t kInfinite = 0x477ff000, kSmallestNormal = 0x38800000;  // 65520 and 2^-14 as FP32
  constexpr uint32_t kBiasApart = 127 - 15;
  const uint32_t u = std::bit_cast<uint32_t>(x), sign = u >> 16 & 0x8000u, bits = u & 0x7fffffffu;
  if (bits > 0x7f800000u) return F16{static_cast<uint16_t>(sign | 0x7e00u)};
  if (bits >= kInfinite) return F16{static_cast<uint16_t>(sign | 0x7c00u)};
  const uint32_t code = bits < kSmallestNormal ? std::bit_cast<uint32_t>(std::bit_cast<float>(bits) + kSubnormals) -
                                                     std::bit_cast<uint32_t>(kSubnormals)
                                               : (bits - (kBiasApart << 23) + 0xfffu + (bits >> 13 & 1u)) >> 13;
  return F16{static_cast<uint16_t>(sign | code)};
}

// Exact.
TRIREME_HD inline float to_float(E4M3 x) {
  uint32_t sign = static_cast<uint32_t>(x.bits & 0x80u) << 24;
  uint32_t exponent = (x.bits >> 3) & 15u, mantissa = x.bits & 7u;
  if (exponent == 15u && mantissa == 7u) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 120u) << 23) | (mantissa << 20));
  float value = static_cast<float>(mantissa) * 0x1p-9f;
  return sign ? -value : value;
}

inline constexpr float kLargestE4M3 = 448;
// To nearest even; |x| past the largest value becomes that. x is no NaN.
TRIREME_HD inline E4M3 to_e4m3(float x) {
  constexpr float kSubnormals = 0x1p14f;  // whose last bit is worth 2^-9, that of a subnormal E4M3
  const uint32_t u = std::bit_cast<uint32_t>(x), sign = u >> 24 & 0x80u;
  float magnitude = std::bit_cast<float>(u & 0x7fffffffu);
  if (magnitude > kLargestE4M3) magnitude = kLargestE4M3;
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t code = magnitude < 0x1p-6f
                            ? std::bit_cast<uint32_t>(magnitude + kSubnormals) - std::bit_cast<uint32_t>(kSubnormals)
                            : (bits - (120u << 23) + 0x7ffffu + (bits >> 20 & 1u)) >> 20;
  return E4M3{static_cast<uint8_t>(sign | code)};
}

}  // namespace trireme
