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
// of the one whose tile it is; -1: there are not so many tiles. A lane looks at experts that follow each other, so that
// all are asked for at once.
__device__ inline int64_t first_row_of(MatMul& a, int64_t tile, int rows) {
  if (a.experts.ends.empty()) return tile * rows;
  wait_for_earlier();
  const int32_t* ends = a.experts.ends.data();
  const int experts = static_cast<int>(a.experts.ends.size()), each = (experts + kWarp - 1) / kWarp;
  const int first = min(lane() * each, experts), last = min(first + each, experts);
  int begin = first > 0 ? ends[first - 1] : 0, mine = 0;  // tiles of the lane's experts
  for (int e = first, from = begin; e < last; from = ends[e++]) mine += (ends[e] - from + rows - 1) / rows;
  int upto = mine;
  for (int step = 1; step < kWarp; step *= 2) {
    const int others = __shfl_up_sync(kAllLanes, upto, step);
    if (lane() >= step) upto += others;
  }
  const unsigned found = __ballot_sync(kAllLanes, upto > tile);
  if (found == 0) return -1;
  int expert = first, of_expert = static_cast<int>(tile) - (upto - mine);  // on the lane that has the tile
  for (; expert + 1 < last; begin = ends[expert++]) {
    const int tiles = (ends[expert] - begin + rows - 1) / rows;
    if (of_expert < tiles) break;
    of_expert -= tiles;
  }
  const int lane_of_it = __ffs(static_cast<int>(found)) - 1;
  expert = __shfl_sync(kAllLanes, expert, lane_of_it);
  a.w.data += expert * a.w.to_next;
  a.x.rows = ends[expert];
  return __shfl_sync(kAllLanes, begin, lane_of_it) + int64_t{rows} * __shfl_sync(kAllLanes, of_expert, lane_of_it);
}

}  // namespace trireme::cuda
