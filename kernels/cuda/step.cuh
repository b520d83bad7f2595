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
__host__ __device__ constexpr int step_columns_of_line(PackedForm form) {
  return step_columns(form) / step_lines(form);
}
__host__ __device__ constexpr int row_pieces(PackedForm form) { return has_codes(form) ? sizeof(Int8Group) / kPiece : 2; }

// Bytes of a weight matrix's step, reckoned once by the host.
struct StepShape {
  int panel = 0;             // of shared memory: lines, then values
  int values = 0;            // scales and minimums that stand behind a group's codes
  int minimums = 0;          // where these begin among them
  int group = 0;             // codes and values of a group of 32 columns
  int64_t panel_stride = 0;  // from a packed panel to the next: of 64 outputs, with codes 32

  int step(int panels, int rows, int pieces) const { return panels * panel + rows * pieces * kPiece; }
};
inline StepShape step_shape(const PackedView& w) {
  const int lines = step_lines(w.form) * kLine;
  if (w.form == PackedForm::bf16) return {lines, 0, 0, 0, (w.k + 1) / 2 * 2 * kWidePanel * int64_t{sizeof(BF16)}};
  if (w.form == PackedForm::e4m3) return {lines, 0, 0, 0, e4m3_panel_bytes(w)};
  const int group = static_cast<int>(group_bytes(w)), values = group - lines;
  return {lines + values, values, static_cast<int>(scales_bytes(w)), group, blocks_of(w.k, kGroupColumns) * group};
}

// Where a piece of a line stands. The lanes that read at once want pieces 2 apart of four lines (or pairs of lines), one
// for each member of a quad: turned by the member they lie in different banks.
template <PackedForm kForm>
__device__ inline int piece_offset(int line, int piece) {
  const int member = line / (step_lines(kForm) / 4);
  return line * kLine + (piece ^ 2 * member) * kPiece;
}

// Copies a panel's steps, thread `index` of kTeam its part of each. All that does not change from step to step is
// reckoned before: a step costs an address and a comparison.
template <PackedForm kForm, int kTeam>
struct PanelCopy {
  static constexpr int kCopies = (step_lines(kForm) * kPieces + kTeam - 1) / kTeam;
  static constexpr int kLinesApart = kTeam / kPieces;  // of a thread's copies
  // From a line to the next in the packed matrix, and from a column to the next.
  static constexpr int kLineStride = has_codes(kForm) ? kLine : 2 * kLine, kColumn = kLineStride / step_columns_of_line(kForm);
  const std::byte *from, *values_from;
  int to[kCopies], values_to, column, group;
  bool copies, has_values;

  __device__ PanelCopy(const PackedView& w, const StepShape& shape, int64_t panel, int index) : group(shape.group) {
    const int line = index / kPieces, piece = index % kPieces;
    copies = panel * kPanel < w.n && line < step_lines(kForm);
    has_values = panel * kPanel < w.n && index < shape.values / kPiece;
    from = w.data + (has_codes(kForm) ? panel : panel / 2) * shape.panel_stride + line * kLineStride;
    values_from = from - line * kLineStride + step_lines(kForm) * kLine + index * kPiece;
    values_to = step_lines(kForm) * kLine + index * kPiece;
    if constexpr (kForm == PackedForm::e4m3)  // a quarter of a line a column
      from += piece / 2 * kWidePanel + panel % 2 * kPanel + piece % 2 * kPiece;
    else
      from += (has_codes(kForm) ? 0 : panel % 2 * kLine) + piece * kPiece;
    column = line * step_columns_of_line(kForm) + (kForm == PackedForm::e4m3 ? piece / 2 : 0);
    UNROLL
    for (int i = 0; i < kCopies; i++) to[i] = piece_offset<kForm>(line + i * kLinesApart, piece);
  }

  // Columns [k, end) of a step; past the end come zeros.
  __device__ void copy(int k, int end, std::byte* panel) const {
    const int64_t offset = has_codes(kForm) ? int64_t{k / kGroupColumns} * group : int64_t{k} * kColumn;
    if (copies) {
      UNROLL
      for (int i = 0; i < kCopies; i++) {
        const bool within = has_codes(kForm) || k + column + i * kLinesApart * step_columns_of_line(kForm) < end;
        copy_once(panel + to[i], from + offset + i * kLinesApart * kLineStride, within ? kPiece : 0);
      }
    }
    if constexpr (has_codes(kForm))
      if (has_values) copy_once(panel + values_to, values_from + offset, kPiece);
  }
};

// The same of kRows rows of x from `row`; those past its end are left as they are, and come to no sum that is written.
template <PackedForm kForm, int kRows, int kTeam>
struct RowCopy {
  static constexpr int kRowPieces = row_pieces(kForm), kCopies = (kRows * kRowPieces + kTeam - 1) / kTeam;
  const std::byte* rows;
  int from[kCopies], to, piece[kCopies];  // from < 0: none
  bool aligned;                           // all units begin at whole pieces

  __device__ RowCopy(const Activations& x, int64_t row, int index, const Units& units)
      : rows(x.data + row * x.row_bytes), to(index * kPiece), aligned(units.columns % (kPiece / 2) == 0) {
    UNROLL
    for (int i = 0; i < kCopies; i++) {
      const int at = index + i * kTeam, of_tile = at / kRowPieces;
      piece[i] = at % kRowPieces * kPiece;
      from[i] = of_tile < kRows && row + of_tile < x.rows ? of_tile * static_cast<int>(x.row_bytes) + piece[i] : -1;
    }
  }

  __device__ void copy(int k, int end, std::byte* step_rows) const {
    const int64_t offset = has_codes(kForm) ? int64_t{k / kGroupColumns} * int64_t{sizeof(Int8Group)} : 2 * int64_t{k};
    UNROLL
    for (int i = 0; i < kCopies; i++) {
      if (from[i] < 0) continue;
      std::byte* there = step_rows + to + i * kTeam * kPiece;
      const std::byte* here = rows + from[i] + offset;
      const int bytes = has_codes(kForm) ? kPiece : max(0, min(kPiece, 2 * (end - k) - piece[i]));
      if (has_codes(kForm) || aligned)
        copy_shared<kPiece>(there, here, bytes);
      else
        copy_words(there, here, bytes);
    }
  }

 private:
  // Units that begin anywhere: heads of 20 values.
  __device__ static void copy_words(std::byte* there, const std::byte* here, int bytes) {
    NO_UNROLL
    for (int word = 0; word < kPiece; word += 4)
      copy_shared<4>(there + word, here + word, max(0, min(4, bytes - word)));
  }
};

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

// sums += a panel times rows, by a warp. Both are what the copies left of a step.
template <PackedForm kForm, int kTiles>
__device__ inline void multiply(const PackedView& w, const StepShape& shape, const std::byte* panel,
                                const std::byte* rows, Sums<kTiles>& sums) {
  if constexpr (has_codes(kForm))
    multiply_codes<kForm, kTiles>(w, shape, panel, rows, sums);
  else
    multiply_bf16<kForm, kTiles>(panel, rows, sums);
}

// The scales that wait for a unit's sums, of the lane's four outputs. The panel's memory goes to whole panels.
template <PackedForm kForm>
__device__ inline float4 unit_scales(const PackedView& w, const StepShape& shape, int64_t panel, int begin) {
  if constexpr (kForm != PackedForm::e4m3) return {1, 1, 1, 1};
  const std::byte* scales = w.data + panel / 2 * shape.panel_stride + e4m3_code_bytes(w.k);
  const int output = static_cast<int>(panel % 2) * kPanel + lane() / 4 * 4;
  return *reinterpret_cast<const float4*>(scales + (begin / w.scale_columns * kWidePanel + output) * int64_t{sizeof(float)});
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
  int k = 0, end = 0;

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
