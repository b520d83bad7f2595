#pragma once

// What products of many rows share, by warps (tile_matmul.cu) and by warpgroups (warpgroup_matmul.cu): a block's tile
// of four panels, 128 outputs.
#include "kernels/cuda/matmul.cuh"

namespace trireme::cuda {

inline constexpr int kTilePanels = 4;
inline constexpr int kTileOutputs = kTilePanels * kPanel;
inline constexpr int kRowTilesTogether = 8;  // that blocks take beside each other: these rows and weights fit L2

// Of one sum of each output and row.
template <int kRows>
constexpr int64_t sums_bytes() {
  return int64_t{kRows} * kTileOutputs * sizeof(float);
}

TRIREME_HD inline int output_tiles(const MatMul& a) { return static_cast<int>(blocks_of(a.w.n, kTileOutputs)); }

// Whether a tree's open sums have room: `held` in registers and shared memory, and one in y, which holds one sum only,
// and only where it is the last that is written. Of several roots all are open in the end.
inline bool sums_fit(const MatMul& a, const Units& units, int held) {
  const int roots = a.contraction->program.roots;
  return units.max_depth <= (roots == 1 ? held + 1 : held) && (roots == 1 || roots < held);
}

// Block i's tile: rows of kRowTilesTogether tiles first, then outputs, then the next rows.
struct TileIndex {
  int rows, outputs;
};
__device__ inline TileIndex tile_of(int i, int row_tiles, int output_tiles) {
  const int band = i / (kRowTilesTogether * output_tiles), first = band * kRowTilesTogether;
  const int height = min(int{kRowTilesTogether}, row_tiles - first), of_band = i - first * output_tiles;
  return {first + of_band % height, of_band / height};
}

// Where a thread's sums of a tile end: y or, past y's edges, nowhere.
struct Place {
  const MatMul& a;
  int row, n;  // of the thread's first sum

  // The same, of which the compiler knows nothing: else it keeps all addresses in registers from the start.
  __device__ Place here() const {
    Place place = *this;
#ifdef __CUDACC__
    asm volatile("" : "+r"(place.row), "+r"(place.n));
#endif
    return place;
  }
  // Of sum i of a product: outputs 2 h and 2 h + 1 of the thread, rows 2 member and 2 member + 1.
  __device__ int output(int h, int i) const { return n + 2 * h + i / 2; }
  __device__ float* at(int root, int tile, int h, int i) const {
    const int r = row + tile * kTensorRows + i % 2;
    return r < a.x.rows && output(h, i) < a.w.n ? a.y + root * a.root_stride + int64_t{r} * a.y_stride + output(h, i)
                                                : nullptr;
  }
};

// A tile's sums in shared memory, [rows][kSumsStride]: four floats more than outputs let lanes write to different
// banks.
inline constexpr int kSumsStride = kTileOutputs + 4;

// What a gate makes of them: it and up are in different warps' registers, and meet there.
template <int kRows>
__device__ void gate_rows(const MatMul& a, const Gate& gate, int first_row, int outputs, const float* sums) {
  constexpr int kGates = kTilePanels / 2;
  NO_UNROLL
  for (int item = warp(); item < kRows * kGates; item += kThreads / kWarp) {
    const int of_rows = item / kGates, panel = item % kGates;
    const int row = first_row + of_rows, column = (outputs * kGates + panel) * kPanel + lane();
    const float* both = sums + of_rows * kSumsStride + panel * kPanel + lane();
    if (row < a.x.rows && column < gate.panels * kPanel)
      put_gated(a, gate, row, column, both[0], both[kGates * kPanel]);
  }
}

}  // namespace trireme::cuda
