#pragma once

// Which rows a block multiplies, and by which matrix: a tile of all rows, or of one expert's.
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

// Rows of a matrix, about, which kernels are chosen for.
inline int64_t rows_of_matrix(const MatMul& a) { return a.experts.ends.empty() ? a.x.rows : a.experts.usual; }

// Tiles of `rows` rows that are enough however rows are spread over experts, which the host does not know.
inline int64_t row_tiles(const MatMul& a, int64_t rows) {
  if (a.experts.ends.empty()) return blocks_of(a.x.rows, rows);
  const int64_t begun = std::min<int64_t>(a.x.rows, static_cast<int64_t>(a.experts.ends.size()));
  return std::min(a.x.rows, (a.x.rows + begun * (rows - 1)) / rows);
}

// The first row of a tile of `rows`, by whole warps. Of experts: narrows a to the matrix and the rows, up to their end,
// of the one whose tile it is; -1: there are not so many tiles.
__device__ inline int64_t first_row_of(MatMul& a, int64_t tile, int rows) {
  if (a.experts.ends.empty()) return tile * rows;
  wait_for_earlier();
  const int experts = static_cast<int>(a.experts.ends.size());
  int64_t before = 0;  // tiles of experts before those that the lanes have
  for (int first = 0; first < experts; first += kWarp) {
    const int e = first + lane();
    const int begin = e > 0 && e < experts ? a.experts.ends[e - 1] : 0, end = e < experts ? a.experts.ends[e] : 0;
    const int mine = static_cast<int>(blocks_of(end - begin, rows));
    int upto = mine;
    for (int step = 1; step < kWarp; step *= 2) {
      const int others = __shfl_up_sync(kAllLanes, upto, step);
      if (lane() >= step) upto += others;
    }
    if (const unsigned found = __ballot_sync(kAllLanes, before + upto > tile)) {
      const int of = __ffs(static_cast<int>(found)) - 1;
      a.w.data += (first + of) * a.w.to_next;
      a.x.rows = __shfl_sync(kAllLanes, end, of);
      const int64_t of_expert = tile - before - __shfl_sync(kAllLanes, upto - mine, of);
      return __shfl_sync(kAllLanes, begin, of) + of_expert * rows;
    }
    before += __shfl_sync(kAllLanes, upto, kWarp - 1);
  }
  return -1;
}

}  // namespace trireme::cuda
