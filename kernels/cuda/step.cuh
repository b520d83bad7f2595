#pragma once

// A step of a product on tensor cores: 16 columns (BF16, FP16, E4M3) or 32 (groups) of some panels of 32 outputs and of
// some rows of x, first copied to shared memory in pieces of 16 bytes, then multiplied by warps. All kernels of a
// weight format take these steps one after the other from a unit's first column, so that the chain of a sum is the same
// in all.
//
// Who holds what (PTX's m16n8k16 and m16n8k32): lane 4 quad + member has two outputs and some columns of the weights, a
// row of x and the same columns, and of the result two outputs of rows 2 member and 2 member + 1. Which output and
// which columns stand in which place is ours to choose. Outputs: quad has 4 quad to 4 quad + 3 of the panel, which lie
// side by side in packed weights, two in each of two products. Columns: of 16, member has 2 member, 2 member + 1 and
// those 8 behind them, which are PTX's own places, so that instructions that read rows by themselves add alike
// (kernels/cuda/warpgroup.cuh); of groups, which no such instruction reads, a run of a quarter.
#include "kernels/cuda/tensor.cuh"

namespace trireme::cuda {

inline constexpr int kPanel = 32;      // outputs
inline constexpr int kTensorRows = 8;  // of x, in one product

__host__ __device__ constexpr bool has_groups(PackedForm form) {
  return form == PackedForm::q8 || form == PackedForm::q4 || form == PackedForm::e4m3_groups;
}
__host__ __device__ constexpr int step_columns(PackedForm form) { return has_groups(form) ? kGroupColumns : 16; }
// Of a panel's step: a line has 2 columns of 32 outputs (bf16, f16_pairs), 4 (e4m3, q8, e4m3_groups) or 8 (q4).
__host__ __device__ constexpr int step_lines(PackedForm form) {
  return form == PackedForm::q4 || form == PackedForm::e4m3 ? 4 : 8;
}
__host__ __device__ constexpr int step_columns_of_line(PackedForm form) {
  return step_columns(form) / step_lines(form);
}
__host__ __device__ constexpr int row_pieces(PackedForm form) {
  return has_groups(form) ? sizeof(Int8Group) / kPiece : 2;
}

// Bytes of a weight matrix's step, reckoned once by the host.
struct StepShape {
  int panel = 0;             // of shared memory: lines, then values
  int values = 0;            // scales and minimums that stand behind a group's codes
  int minimums = 0;          // where these begin among them
  int group = 0;             // codes and values of a group of 32 columns
  int64_t panel_stride = 0;  // from a packed panel to the next: of 64 outputs, of groups 32

  int step(int panels, int rows, int pieces) const { return panels * panel + rows * pieces * kPiece; }
};
inline StepShape step_shape(const PackedView& w) {
  const int lines = step_lines(w.form) * kLine;
  if (in_pairs(w.form)) return {lines, 0, 0, 0, (w.k + 1) / 2 * 2 * kWidePanel * int64_t{sizeof(BF16)}};
  if (is_e4m3(w.form)) return {lines, 0, 0, lines, e4m3_code_bytes(w.form, w.k) + e4m3_scale_bytes(w, w.k)};
  const int group = static_cast<int>(group_bytes(w)), values = group - lines;
  return {lines + values, values, static_cast<int>(scales_bytes(w)), group, blocks_of(w.k, kGroupColumns) * group};
}

// Where a piece of a line stands. The lanes that read at once want the same pieces of four lines (E4M3: two pieces of
// two), one for each member of a quad: turned by the line they lie in different banks.
template <PackedForm kForm>
__device__ inline int piece_offset(int line, int piece) {
  const int turn = has_groups(kForm) ? line / (step_lines(kForm) / 4) : line % 4;
  return line * kLine + (piece ^ 2 * turn) * kPiece;
}

// Where 16 columns of a row stand: each four rows the two pieces change places, so that the lanes of a product read
// from different banks.
__device__ inline int row_offset(int row, int piece) { return row * 2 * kPiece + (piece ^ row / 4 % 2) * kPiece; }

// What a warp or block takes next: kColumns of units first, first + stride, ... before last, one after the other.
template <PackedForm kForm, int kColumns = step_columns(kForm)>
struct Steps {
  const Units& units;
  int unit, stride, last;
  int k = 0, end = 0;

  __device__ Steps(const Units& all, int first, int every, int end_unit)
      : units(all), unit(first), stride(every), last(end_unit) {
    enter();
  }
  __device__ bool done() const { return unit >= last; }
  __device__ void next() {
    k += kColumns;
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
