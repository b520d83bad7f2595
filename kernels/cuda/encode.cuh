#pragma once

// Rows in the form that products take, by warps. The order is the reference's (kernels/cpu/reference.cpp).
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

inline constexpr float kSmallestGroup = 0x1p-100f;  // as in kernels/cpu/inner.h: 127 / largest must not overflow

// Column k of a row, by a warp that has 32 of them from a multiple of 32 on; past the last column x is 0.
__device__ inline void encode_column(const Activations& out, int64_t row, int64_t k, float x) {
  std::byte* to = out.data + row * out.row_bytes;
  if (out.form == ActivationForm::bf16 || out.form == ActivationForm::f16) {
    if (k >= out.row_bytes / 2) return;
    reinterpret_cast<uint16_t*>(to)[k] = out.form == ActivationForm::bf16 ? to_bf16(x).bits : to_f16(x).bits;
    return;
  }
  const bool finite = __all_sync(kAllLanes, std::isfinite(x));
  const float largest = largest_of(std::fabs(x));
  const bool coded = finite && largest >= kSmallestGroup;
  if (out.form == ActivationForm::e4m3) {
    E4M3Group& group = reinterpret_cast<E4M3Group*>(to)[k / kInputGroup];
    group.code[lane()] = coded ? to_e4m3(x * (kLargestE4M3 / largest)) : E4M3{0};
    if (lane() == 0) group.scale = coded ? largest / kLargestE4M3 : finite ? 0.0f : NAN;
    return;
  }
  const int code = coded ? static_cast<int>(std::nearbyint(x * (127.0f / largest))) : 0;
  const int sum = sum_of(code);
  Int8Group& group = reinterpret_cast<Int8Group*>(to)[k / kInputGroup];
  group.code[lane()] = static_cast<int8_t>(code);
  if (lane() != 0) return;
  group.scale = coded ? largest / 127.0f : finite ? 0.0f : NAN;
  group.scaled_sum = coded ? group.scale * static_cast<float>(sum) : group.scale;
  group.minus_8_sum = -8 * sum;
  group.minus_128_sum = -128 * sum;
}
// Columns that warps walk for it.
__device__ inline int64_t encoded_columns(const Activations& out) { return blocks_of(out.columns, kWarp) * kWarp; }

}  // namespace trireme::cuda
