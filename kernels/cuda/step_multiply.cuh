#pragma once

// How warps multiply a step that lies in shared memory (kernels/cuda/step.cuh).
#include "kernels/cuda/step.cuh"
#include "kernels/cuda/tensor.cuh"

namespace trireme::cuda {

__device__ inline uint4 four_words(const std::byte* at) { return *reinterpret_cast<const uint4*>(at); }

// Two E4M3 of each word, in bytes 1 and 3, as BF16, where neither is NaN: fields moved to their place make the number
// times 2^-120.
__device__ inline unsigned bf16_of_e4m3(unsigned codes) {
  return scaled_up((codes & 0x80008000u) | (codes >> 4 & 0x07f007f0u));
}
__device__ inline unsigned nans_of(unsigned codes) { return (codes & 0x7f7f7f7fu) + 0x01010101u; }  // in bits 7
__device__ inline unsigned with_nans(unsigned codes, unsigned pair) {
  if ((codes & 0x00007f00u) == 0x00007f00u) pair |= 0x00007fc0u;
  if ((codes & 0x7f000000u) == 0x7f000000u) pair |= 0x7fc00000u;
  return pair;
}

// A lane's part of a panel of E4M3: `columns` has its four columns, in each of them four outputs. NaNs are put right
// behind a branch that is hardly ever taken.
__device__ inline unsigned codes_of(const unsigned (&columns)[4], int i) {
  const int output = i / 4 * 2 + i % 2, first = i % 4 / 2 * 2;
  return __byte_perm(columns[first], columns[first + 1], static_cast<unsigned>(output << 4 | (output + 4) << 12));
}
__device__ inline void decode(const unsigned (&columns)[4], unsigned (&weights)[2][4]) {
  UNROLL
  for (int i = 0; i < 8; i++) weights[i / 4][i % 4] = bf16_of_e4m3(codes_of(columns, i));
  const unsigned nans = nans_of(columns[0]) | nans_of(columns[1]) | nans_of(columns[2]) | nans_of(columns[3]);
  if ((nans & 0x80808080u) != 0) {
    UNROLL
    for (int i = 0; i < 8; i++) weights[i / 4][i % 4] = with_nans(codes_of(columns, i), weights[i / 4][i % 4]);
  }
}

// A lane's part of a panel, as the first operand of two products.
template <PackedForm kForm>
__device__ inline void load_panel(const std::byte* panel, unsigned (&weights)[2][4]) {
  const int quad = lane() / 4, member = lane() % 4;
  if constexpr (kForm == PackedForm::e4m3) {
    unsigned columns[4];
    UNROLL
    for (int j = 0; j < 4; j++) {
      const int line = j / 2 * 2 + member / 2, column = member % 2 * 2 + j % 2;
      columns[j] =
          *reinterpret_cast<const unsigned*>(panel + piece_offset<kForm>(line, 2 * column + quad / 4) + quad % 4 * 4);
    }
    decode(columns, weights);
  } else {
    uint4 first, second;
    if constexpr (kForm == PackedForm::q4) {
      const uint4 both = four_words(panel + piece_offset<kForm>(member, quad));
      constexpr unsigned kLow = 0x0f0f0f0f;
      first = {both.x & kLow, both.y & kLow, both.z & kLow, both.w & kLow};
      second = {both.x >> 4 & kLow, both.y >> 4 & kLow, both.z >> 4 & kLow, both.w >> 4 & kLow};
    } else {
      first = four_words(panel + piece_offset<kForm>(in_pairs(kForm) ? member : 2 * member, quad));
      second = four_words(panel + piece_offset<kForm>(in_pairs(kForm) ? member + 4 : 2 * member + 1, quad));
    }
    weights[0][0] = first.x, weights[0][1] = first.y, weights[0][2] = second.x, weights[0][3] = second.y;
    weights[1][0] = first.z, weights[1][1] = first.w, weights[1][2] = second.z, weights[1][3] = second.w;
  }
}

// Four outputs' scales or minimums.
__device__ inline float4 four_values(DType type, const std::byte* at) {
  if (type == DType::f32) return *reinterpret_cast<const float4*>(at);
  const uint2 halves = *reinterpret_cast<const uint2*>(at);
  return {half_value(halves.x), half_value(halves.x >> 16), half_value(halves.y), half_value(halves.y >> 16)};
}

// Sums of a panel and kTiles tiles of 8 rows that a lane holds: [tile][product][i]; outputs 4 quad + 2 product + i / 2,
// rows 2 member + i % 2.
template <int kTiles>
using Sums = float[kTiles][2][4];

template <PackedForm kForm, int kTiles>
__device__ inline void multiply_pairs(const std::byte* panel, const std::byte* rows, Sums<kTiles>& sums) {
  unsigned weights[2][4];
  load_panel<kForm>(panel, weights);
  UNROLL
  for (int tile = 0; tile < kTiles; tile++) {
    unsigned pairs[2];
    UNROLL
    for (int i = 0; i < 2; i++)
      pairs[i] = reinterpret_cast<const unsigned*>(rows + row_offset(tile * kTensorRows + lane() / 4, i))[lane() % 4];
    UNROLL
    for (int h = 0; h < 2; h++) {
      if constexpr (kForm == PackedForm::f16_pairs)
        tensor_multiply_f16(weights[h], pairs, sums[tile][h]);
      else
        tensor_multiply(weights[h], pairs, sums[tile][h]);
    }
  }
}

// What one or both halves of a group of x bring to sums: see the chain in kernels/cpu/reference_matmul.cpp.
struct RowScales {
  float scale[2], scaled_sum[2];  // of rows 2 member, 2 member + 1
  int minus_zeros[2];             // -zero * (sum of x codes)
};

template <PackedForm kForm, int kTiles>
__device__ inline void multiply_codes(const PackedView& w, const StepShape& shape, const std::byte* panel,
                                      const std::byte* rows, Sums<kTiles>& sums) {
  const int quad = lane() / 4, member = lane() % 4, zero = w.has_minimum ? 0 : w.zero;
  const int halves = w.scale_columns == kGroupColumns ? 1 : 2;
  const std::byte* values = panel + step_lines(kForm) * kLine;
  unsigned weights[2][4];
  load_panel<kForm>(panel, weights);
  for (int half = 0; half < halves; half++) {
    const int64_t at = (half * kPanel + 4 * quad) * dtype_bytes(w.scale_type);
    const float4 scales = four_values(w.scale_type, values + at);
    const float4 minimums = w.has_minimum ? four_values(w.scale_type, values + shape.minimums + at) : float4{};
    const float scale[4] = {scales.x, scales.y, scales.z, scales.w};
    const float minimum[4] = {minimums.x, minimums.y, minimums.z, minimums.w};
    UNROLL
    for (int tile = 0; tile < kTiles; tile++) {
      const Int8Group* groups = reinterpret_cast<const Int8Group*>(rows) + tile * kTensorRows;
      const uint2 both = reinterpret_cast<const uint2*>(groups[quad].code)[member];
      unsigned x[2] = {both.x, both.y};
      if (halves == 2 && member / 2 != half) x[0] = x[1] = 0;  // members 0 and 1 have the first 16 columns
      RowScales row;
      UNROLL
      for (int r = 0; r < 2; r++) {
        const Int8Group& group = groups[2 * member + r];
        row.scale[r] = group.scale;
        row.scaled_sum[r] = group.scaled_sum;
        row.minus_zeros[r] = zero == 0 ? 0 : zero == 8 ? group.minus_8_sum : group.minus_128_sum;
      }
      if (halves == 2) {
        constexpr unsigned kOnes[4] = {0x01010101, 0x01010101, 0x01010101, 0x01010101};
        int x_sum[4] = {};
        tensor_multiply(kOnes, x, x_sum);
        UNROLL
        for (int r = 0; r < 2; r++) {
          row.scaled_sum[r] = row.scale[r] * static_cast<float>(x_sum[r]);
          row.minus_zeros[r] = -zero * x_sum[r];
        }
      }
      UNROLL
      for (int h = 0; h < 2; h++) {
        int dot[4] = {};
        tensor_multiply(weights[h], x, dot);
        UNROLL
        for (int i = 0; i < 4; i++) {
          float& sum = sums[tile][h][i];
          const int output = 2 * h + i / 2, r = i % 2;
          sum = std::fma(static_cast<float>(dot[i] + row.minus_zeros[r]), scale[output] * row.scale[r], sum);
          if (w.has_minimum) sum = std::fma(minimum[output], row.scaled_sum[r], sum);
        }
      }
    }
  }
}

// Codes of both sides: a group's sum begins at zero, and its scale brings it to FP32 chains.
template <PackedForm kForm, int kTiles>
__device__ inline void multiply_e4m3(const std::byte* panel, const std::byte* rows, Sums<kTiles>& sums) {
  const int quad = lane() / 4, member = lane() % 4;
  unsigned weights[2][4];
  load_panel<kForm>(panel, weights);
  UNROLL
  for (int tile = 0; tile < kTiles; tile++) {
    const E4M3Group* groups = reinterpret_cast<const E4M3Group*>(rows) + tile * kTensorRows;
    const uint2 both = reinterpret_cast<const uint2*>(groups[quad].code)[member];
    const unsigned x[2] = {both.x, both.y};
    const float scale[2] = {groups[2 * member].scale, groups[2 * member + 1].scale};
    UNROLL
    for (int h = 0; h < 2; h++) {
      float dot[4] = {};
      tensor_multiply_e4m3(weights[h], x, dot);
      UNROLL
      for (int i = 0; i < 4; i++) sums[tile][h][i] = std::fma(dot[i], scale[i % 2], sums[tile][h][i]);
    }
  }
}

// sums += a panel times rows, by a warp. Both are what the copies left of a step.
template <PackedForm kForm, int kTiles>
__device__ inline void multiply(const PackedView& w, const StepShape& shape, const std::byte* panel,
                                const std::byte* rows, Sums<kTiles>& sums) {
  if constexpr (kForm == PackedForm::e4m3_groups)
    multiply_e4m3<kForm, kTiles>(panel, rows, sums);
  else if constexpr (has_groups(kForm))
    multiply_codes<kForm, kTiles>(w, shape, panel, rows, sums);
  else
    multiply_pairs<kForm, kTiles>(panel, rows, sums);
}

// A lane's sums of a panel, to [rows][stride]: four floats more than outputs let a quad's lanes write to different
// banks.
template <int kTiles>
__device__ inline void put_sums(const Sums<kTiles>& sums, float* to, int stride) {
  UNROLL
  for (int row = 0; row < 2 * kTiles; row++) {  // those of this lane
    const int at = row / 2 * kTensorRows + lane() % 4 * 2 + row % 2;
    *reinterpret_cast<float4*>(to + at * stride + lane() / 4 * 4) = {
        sums[row / 2][0][row % 2], sums[row / 2][0][2 + row % 2], sums[row / 2][1][row % 2],
        sums[row / 2][1][2 + row % 2]};
  }
}

// The scales that wait for a unit's sums, of the lane's four outputs. The panel's memory goes to whole panels.
template <PackedForm kForm>
__device__ inline float4 unit_scales(const PackedView& w, const StepShape& shape, int64_t panel, int begin) {
  if constexpr (!is_e4m3(kForm)) return {1, 1, 1, 1};
  constexpr int kOutputs = panel_outputs(kForm);  // that a packed panel has
  const int64_t output = panel * kPanel + lane() / 4 * 4;
  const std::byte* scales = w.data + output / kOutputs * shape.panel_stride + e4m3_code_bytes(kForm, w.k);
  return reinterpret_cast<const float4*>(scales)[(begin / w.scale_columns * kOutputs + output % kOutputs) / 4];
}
template <PackedForm kForm, int kTiles>
__device__ inline void scale_unit(float4 scales, Sums<kTiles>& sums) {
  if constexpr (!is_e4m3(kForm)) return;
  const float scale[4] = {scales.x, scales.y, scales.z, scales.w};
  UNROLL
  for (int tile = 0; tile < kTiles; tile++) UNROLL
  for (int h = 0; h < 2; h++) UNROLL
  for (int i = 0; i < 4; i++) sums[tile][h][i] = sums[tile][h][i] * scale[2 * h + i / 2];
}

}  // namespace trireme::cuda
