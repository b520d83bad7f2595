#pragma once

// A step of a product on tensor cores: 16 columns (BF16, E4M3) or 32 (codes) of some panels of 32 outputs and of some
// rows of x, first copied to shared memory in pieces of 16 bytes, then multiplied by warps. All kernels of a weight
// format take these steps one after the other from a unit's first column, so that the chain of a sum is the same in all.
//
// Who holds what (PTX's m16n8k16 and m16n8k32): lane 4 quad + member has two outputs and some columns of the weights, a
// row of x and the same columns, and of the result two outputs of rows 2 member and 2 member + 1. Which output and which
// columns stand in which place is ours to choose. Outputs: quad has 4 quad to 4 quad + 3 of the panel, which lie side by
// side in packed weights, two in each of two products. Columns: member has a run of a quarter of the step.
#include "kernels/cuda/tensor.cuh"

namespace trireme::cuda {

inline constexpr int kPanel = 32;       // outputs
inline constexpr int kTensorRows = 8;   // of x, in one product
inline constexpr int kLine = 128;       // bytes: all banks of shared memory
inline constexpr int kPiece = 16;       // bytes that a thread copies at once
inline constexpr int kPieces = kLine / kPiece;

__host__ __device__ constexpr bool has_codes(PackedForm form) {
  return form == PackedForm::q8 || form == PackedForm::q4;
}
__host__ __device__ constexpr int step_columns(PackedForm form) { return has_codes(form) ? kGroupColumns : 16; }
// Of a panel's step: a line has 2 columns of 32 outputs (bf16), 4 (e4m3, q8) or 8 (q4).
__host__ __device__ constexpr int step_lines(PackedForm form) {
  return form == PackedForm::bf16 || form == PackedForm::q8 ? 8 : 4;
}
__host__ __device__ constexpr int row_pieces(PackedForm form) { return has_codes(form) ? sizeof(Int8Group) / kPiece : 2; }

// Scales and minimums that stand behind a group's codes.
TRIREME_HD inline int values_bytes(const PackedView& w) {
  return has_codes(w.form) ? static_cast<int>(group_bytes(w) - code_bytes(w.form)) : 0;
}
// Of shared memory: panels, each of lines and values, then rows.
TRIREME_HD inline int panel_bytes(const PackedView& w) { return step_lines(w.form) * kLine + values_bytes(w); }
TRIREME_HD inline int step_bytes(const PackedView& w, int panels, int rows) {
  return panels * panel_bytes(w) + rows * row_pieces(w.form) * kPiece;
}

// Where a piece of a line stands. The lanes that read at once want pieces 2 apart of four lines (or pairs of lines), one
// for each member of a quad: turned by the member they lie in different banks.
template <PackedForm kForm>
__device__ inline int piece_offset(int line, int piece) {
  const int member = line / (step_lines(kForm) / 4);
  return line * kLine + (piece ^ 2 * member) * kPiece;
}

// The first bytes of columns [k, end) of a panel; columns past the end are zeros. Thread `index` of `team` copies its part.
template <PackedForm kForm>
__device__ inline void copy_panel(const PackedView& w, int64_t panel, int64_t k, int64_t end, std::byte* to, int index,
                                  int team) {
  const std::byte* group = has_codes(kForm) ? group_data(w, panel * kPanel, k) : nullptr;
  for (int i = index; i < step_lines(kForm) * kPieces; i += team) {
    const int line = i / kPieces, piece = i % kPieces;
    const std::byte* from = group + line * kLine + piece * kPiece;
    bool within = true;
    if constexpr (kForm == PackedForm::bf16) {
      within = k + 2 * line < end;
      from = w.data + ((panel / 2 * ((w.k + 1) / 2) + k / 2 + line) * 2 + panel % 2) * kLine + piece * kPiece;
    }
    if constexpr (kForm == PackedForm::e4m3) {
      const int64_t column = k + 4 * line + piece / 2;
      within = column < end;
      from = w.data + panel / 2 * e4m3_panel_bytes(w) + column * kWidePanel + panel % 2 * kPanel + piece % 2 * kPiece;
    }
    copy_once(to + piece_offset<kForm>(line, piece), within ? from : w.data, within ? kPiece : 0);
  }
  for (int i = index; i < values_bytes(w) / kPiece; i += team)
    copy_once(to + step_lines(kForm) * kLine + i * kPiece, group + code_bytes(kForm) + i * kPiece, kPiece);
}

// The same of rows [row, row + rows) of x; those past its end are left as they are, and come to no sum that is written.
template <PackedForm kForm>
__device__ inline void copy_rows(const Activations& x, int64_t row, int rows, int64_t k, int64_t end, std::byte* to,
                                 int index, int team) {
  constexpr int kRowPieces = row_pieces(kForm);
  const int within = static_cast<int>(min(int64_t{rows}, x.rows - row));
  for (int i = index; i < within * kRowPieces; i += team) {
    const std::byte* from = x.data + (row + i / kRowPieces) * x.row_bytes;
    if constexpr (has_codes(kForm)) {
      copy_shared<kPiece>(to + i * kPiece, from + k / kGroupColumns * int64_t{sizeof(Int8Group)} + i % kRowPieces * kPiece,
                          kPiece);
    } else {
      const int64_t begin = 2 * k + i % kRowPieces * kPiece;
      const int bytes = static_cast<int>(max(int64_t{0}, min(int64_t{kPiece}, 2 * end - begin)));
      if (begin % kPiece == 0) {
        copy_shared<kPiece>(to + i * kPiece, from + (bytes > 0 ? begin : 0), bytes);
        continue;
      }
      for (int word = 0; word < kPiece; word += 4) {  // units that begin anywhere: heads of 20 values
        const int left = max(0, min(4, bytes - word));
        copy_shared<4>(to + i * kPiece + word, from + (left > 0 ? begin + word : 0), left);
      }
    }
  }
}

__device__ inline uint4 four_words(const std::byte* at) { return *reinterpret_cast<const uint4*>(at); }

// Two E4M3 of each word, in bytes 1 and 3, as BF16, where neither is NaN: fields moved to their place make the number
// times 2^-120.
__device__ inline unsigned bf16_of_e4m3(unsigned codes) {
  return scaled_up((codes & 0x80008000u) | (codes >> 4 & 0x07f007f0u));
}
__device__ inline bool holds_nan(unsigned codes) { return (((codes & 0x7f7f7f7fu) + 0x01010101u) & 0x80808080u) != 0; }
__device__ inline unsigned with_nans(unsigned codes, unsigned pair) {
  if ((codes & 0x00007f00u) == 0x00007f00u) pair |= 0x00007fc0u;
  if ((codes & 0x7f000000u) == 0x7f000000u) pair |= 0x7fc00000u;
  return pair;
}

// A lane's part of a panel of E4M3: `columns` has its four columns, in each of them four outputs.
__device__ inline void decode(const unsigned (&columns)[4], unsigned (&weights)[2][4]) {
  const bool nan = holds_nan(columns[0]) || holds_nan(columns[1]) || holds_nan(columns[2]) || holds_nan(columns[3]);
  UNROLL
  for (int i = 0; i < 8; i++) {
    const int output = i / 4 * 2 + i % 2, first = i % 4 / 2 * 2;
    const unsigned select = static_cast<unsigned>(output << 4 | (output + 4) << 12);
    const unsigned codes = __byte_perm(columns[first], columns[first + 1], select);
    weights[i / 4][i % 4] = bf16_of_e4m3(codes);
    if (nan) weights[i / 4][i % 4] = with_nans(codes, weights[i / 4][i % 4]);
  }
}

// A lane's part of a panel, as the first operand of two products.
template <PackedForm kForm>
__device__ inline void load_panel(const std::byte* panel, unsigned (&weights)[2][4]) {
  const int quad = lane() / 4, member = lane() % 4;
  if constexpr (kForm == PackedForm::e4m3) {
    unsigned columns[4];
    UNROLL
    for (int j = 0; j < 4; j++)
      columns[j] = *reinterpret_cast<const unsigned*>(panel + piece_offset<kForm>(member, 2 * j + quad / 4) + quad % 4 * 4);
    decode(columns, weights);
  } else {
    uint4 first, second;
    if constexpr (kForm == PackedForm::q4) {
      const uint4 both = four_words(panel + piece_offset<kForm>(member, quad));
      constexpr unsigned kLow = 0x0f0f0f0f;
      first = {both.x & kLow, both.y & kLow, both.z & kLow, both.w & kLow};
      second = {both.x >> 4 & kLow, both.y >> 4 & kLow, both.z >> 4 & kLow, both.w >> 4 & kLow};
    } else {
      first = four_words(panel + piece_offset<kForm>(2 * member, quad));
      second = four_words(panel + piece_offset<kForm>(2 * member + 1, quad));
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
__device__ inline void multiply_bf16(const std::byte* panel, const std::byte* rows, Sums<kTiles>& sums) {
  unsigned weights[2][4];
  load_panel<kForm>(panel, weights);
  UNROLL
  for (int tile = 0; tile < kTiles; tile++) {
    const uint2 x = reinterpret_cast<const uint2*>(rows)[tile * kWarp + lane()];
    const unsigned pairs[2] = {x.x, x.y};
    UNROLL
    for (int h = 0; h < 2; h++) tensor_multiply(weights[h], pairs, sums[tile][h]);
  }
}

// What one or both halves of a group of x bring to sums: see the chain in kernels/cpu/reference_matmul.cpp.
struct RowScales {
  float scale[2], scaled_sum[2];  // of rows 2 member, 2 member + 1
  int minus_zeros[2];             // -zero * (sum of x codes)
};

template <PackedForm kForm, int kTiles>
__device__ inline void multiply_codes(const PackedView& w, const std::byte* panel, const std::byte* rows,
                                      Sums<kTiles>& sums) {
  const int quad = lane() / 4, member = lane() % 4, zero = w.has_minimum ? 0 : w.zero;
  const int halves = kGroupColumns / w.scale_columns;
  const std::byte* values = panel + step_lines(kForm) * kLine;
  unsigned weights[2][4];
  load_panel<kForm>(panel, weights);
  for (int half = 0; half < halves; half++) {
    const int64_t at = (half * kPanel + 4 * quad) * dtype_bytes(w.scale_type);
    const float4 scales = four_values(w.scale_type, values + at);
    const float4 minimums = w.has_minimum ? four_values(w.scale_type, values + scales_bytes(w) + at) : float4{};
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

// sums += a panel times rows, by a warp. Both are what the copies left of a step.
template <PackedForm kForm, int kTiles>
__device__ inline void multiply(const PackedView& w, const std::byte* panel, const std::byte* rows, Sums<kTiles>& sums) {
  if constexpr (has_codes(kForm))
    multiply_codes<kForm, kTiles>(w, panel, rows, sums);
  else
    multiply_bf16<kForm, kTiles>(panel, rows, sums);
}

// The scales that wait for a unit's sums, of the lane's four outputs. The panel's memory goes to whole panels.
template <PackedForm kForm>
__device__ inline float4 unit_scales(const PackedView& w, int64_t panel, int64_t begin) {
  if constexpr (kForm != PackedForm::e4m3) return {1, 1, 1, 1};
  return *reinterpret_cast<const float4*>(&e4m3_scale(w, panel * kPanel + lane() / 4 * 4, begin));
}
template <PackedForm kForm, int kTiles>
__device__ inline void scale_unit(float4 scales, Sums<kTiles>& sums) {
  if constexpr (kForm != PackedForm::e4m3) return;
  const float scale[4] = {scales.x, scales.y, scales.z, scales.w};
  UNROLL
  for (int tile = 0; tile < kTiles; tile++)
    UNROLL
    for (int h = 0; h < 2; h++)
      UNROLL
      for (int i = 0; i < 4; i++) sums[tile][h][i] = sums[tile][h][i] * scale[2 * h + i / 2];
}

// What a warp or block takes next: steps of units first, first + stride, ... one after the other.
template <PackedForm kForm>
struct Steps {
  const Units& units;
  int unit, stride;
  int64_t k = 0, end = 0;

  __device__ Steps(const Units& all, int first, int every) : units(all), unit(first), stride(every) { enter(); }
  __device__ bool done() const { return unit >= units.tree.nodes; }
  __device__ void next() {
    k += step_columns(kForm);
    if (k < end) return;
    unit += stride;
    enter();
  }

 private:
  __device__ void enter() {
    if (done()) return;
    k = units.begin(unit);
    end = units.end(unit);
  }
};

}  // namespace trireme::cuda
