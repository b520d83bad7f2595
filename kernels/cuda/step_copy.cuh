#pragma once

// How a step's weights and rows come to shared memory (kernels/cuda/step.cuh).
#include "kernels/cuda/step.cuh"
#include "kernels/cuda/tensor.cuh"

namespace trireme::cuda {

// Copies a panel's steps, thread `index` of kTeam its part of each. All that does not change from step to step is
// reckoned before: a step costs an address and a comparison.
template <PackedForm kForm, int kTeam>
struct PanelCopy {
  static constexpr int kCopies = (step_lines(kForm) * kPieces + kTeam - 1) / kTeam;
  static constexpr int kLinesApart = kTeam / kPieces;  // of a thread's copies
  // From a line to the next in the packed matrix, and from a column to the next.
  static constexpr int kLineStride = has_groups(kForm) ? kLine : 2 * kLine,
                       kColumn = kLineStride / step_columns_of_line(kForm);
  const std::byte *from, *values_from;
  int to[kCopies], values_to, column, group;
  bool copies, has_values;

  __device__ PanelCopy(const PackedView& w, const StepShape& shape, int64_t panel, int index) : group(shape.group) {
    const int line = index / kPieces, piece = index % kPieces;
    copies = panel * kPanel < w.n && line < step_lines(kForm);
    has_values = panel * kPanel < w.n && index < shape.values / kPiece;
    from = w.data + (has_groups(kForm) ? panel : panel / 2) * shape.panel_stride + line * kLineStride;
    values_from = from - line * kLineStride + step_lines(kForm) * kLine + index * kPiece;
    values_to = step_lines(kForm) * kLine + index * kPiece;
    if constexpr (kForm == PackedForm::e4m3)  // a quarter of a line a column
      from += piece / 2 * kWidePanel + panel % 2 * kPanel + piece % 2 * kPiece;
    else
      from += (has_groups(kForm) ? 0 : panel % 2 * kLine) + piece * kPiece;
    column = line * step_columns_of_line(kForm) + (kForm == PackedForm::e4m3 ? piece / 2 : 0);
    UNROLL
    for (int i = 0; i < kCopies; i++) to[i] = piece_offset<kForm>(line + i * kLinesApart, piece);
  }

  // Columns [k, end) of a step; past the end come zeros.
  __device__ void copy(int k, int end, std::byte* panel) const {
    const int64_t offset = has_groups(kForm) ? int64_t{k / kGroupColumns} * group : int64_t{k} * kColumn;
    if (copies) {
      UNROLL
      for (int i = 0; i < kCopies; i++) {
        const std::byte* here = from + offset + i * kLinesApart * kLineStride;
        if constexpr (has_groups(kForm))  // whose last group is padded
          copy_once(panel + to[i], here);
        else
          copy_once(panel + to[i], here, k + column + i * kLinesApart * step_columns_of_line(kForm) < end ? kPiece : 0);
      }
    }
    if constexpr (has_groups(kForm))
      if (has_values) copy_once(panel + values_to, values_from + offset);
  }
};

// Units may begin anywhere, like heads of 20 values.
__device__ inline bool units_begin_at_pieces(const Units& units) { return units.columns % (kPiece / 2) == 0; }
// `bytes` of a piece of a row, then zeros. aligned: units_begin_at_pieces().
__device__ inline void copy_row_piece(std::byte* there, const std::byte* here, int bytes, bool aligned) {
  if (aligned) return copy_shared<kPiece>(there, here, bytes);
  NO_UNROLL
  for (int word = 0; word < kPiece; word += 4) copy_shared<4>(there + word, here + word, max(0, min(4, bytes - word)));
}

// Copies a step of kRows rows of x from `row`; those past its end are left as they are, and come to no sum that is
// written.
template <PackedForm kForm, int kRows, int kTeam>
struct RowCopy {
  static constexpr int kRowPieces = row_pieces(kForm), kCopies = (kRows * kRowPieces + kTeam - 1) / kTeam;
  const std::byte* rows;
  int from[kCopies], to, piece[kCopies];  // from < 0: none
  bool aligned;

  __device__ RowCopy(const Activations& x, int64_t row, int index, const Units& units)
      : rows(x.data + row * x.row_bytes),
        to(has_groups(kForm) ? index * kPiece : row_offset(index / 2, index % 2)),
        aligned(units_begin_at_pieces(units)) {
    UNROLL
    for (int i = 0; i < kCopies; i++) {
      const int at = index + i * kTeam, of_tile = at / kRowPieces;
      piece[i] = at % kRowPieces * kPiece;
      from[i] = of_tile < kRows && row + of_tile < x.rows ? of_tile * static_cast<int>(x.row_bytes) + piece[i] : -1;
    }
  }

  __device__ void copy(int k, int end, std::byte* step_rows) const {
    const int64_t offset = has_groups(kForm) ? int64_t{k / kGroupColumns} * int64_t{sizeof(Int8Group)} : 2 * int64_t{k};
    UNROLL
    for (int i = 0; i < kCopies; i++) {
      if (from[i] < 0) continue;
      std::byte* there = step_rows + to + i * kTeam * kPiece;
      const std::byte* here = rows + from[i] + offset;
      const int bytes = max(0, min(kPiece, 2 * (end - k) - piece[i]));
      if constexpr (has_groups(kForm))
        copy_shared<kPiece>(there, here);
      else
        copy_row_piece(there, here, bytes, aligned);
    }
  }
};

}  // namespace trireme::cuda
