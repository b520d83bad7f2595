#pragma once

// What products on AVX2 share: the sums of a tile, and the stack on which finished units wait for their tree. For files
// that are compiled for AVX2: all is inlined or local to a file.
#include <immintrin.h>

#include "kernels/cpu/inner.h"

namespace trireme {

namespace {

#define UNROLL _Pragma("GCC unroll 8")
#define ROLLED _Pragma("GCC unroll 1")
#define INLINE inline __attribute__((always_inline))

constexpr int kRows = 4;  // of a tile: with 16 outputs eight sums, two vectors of weights, one of x, in 16 registers

// VDPBF16PS takes subnormal operands and results for zeros; these bits of MXCSR make FMA do so too.
constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZeros = 0x0040;

INLINE __m256i load_bytes(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

// R rows, V vectors of 8 outputs each.
template <int R, int V>
struct Tile {
  __m256 v[R][V];

  INLINE void clear() {
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int i = 0; i < V; i++) v[r][i] = _mm256_setzero_ps();
    }
  }
};

template <int R, int V>
struct Stack {
  alignas(32) float memory[kMaxTreeDepth][R * V * 8];
  int depth = 0;

  INLINE void push(Tile<R, V>& sum, int pops) {
    for (; pops > 0; pops--) {
      const float* left = memory[--depth];
      UNROLL
      for (int r = 0; r < R; r++) {
        UNROLL
        for (int i = 0; i < V; i++) sum.v[r][i] = _mm256_add_ps(_mm256_load_ps(left + (r * V + i) * 8), sum.v[r][i]);
      }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int i = 0; i < V; i++) _mm256_store_ps(memory[depth] + (r * V + i) * 8, sum.v[r][i]);
    }
    depth++;
  }

  // Writes all roots to rows [row, row + R) and outputs [first, first + 8 V) of y, as far as they exist.
  INLINE void finish(const PanelProduct& p, int64_t row, int first) {
    int count = p.outputs - first < V * 8 ? p.outputs - first : V * 8;
    for (int root = 0; root < depth; root++)
      for (int r = 0; r < R; r++)
        for (int i = 0; i < count; i++)
          p.y[root * p.root_stride + (row + r) * p.y_stride + first + i] = memory[root][r * V * 8 + i];
  }
};

using TileLoop = void (*)(const PanelProduct&, int64_t row, const std::byte* next);

INLINE void each_tile(const PanelProduct& p, const TileLoop (&loops)[kRows]) {
  int64_t tiles = (p.rows + kRows - 1) / kRows;
  for (int64_t t = 0; t < tiles; t++) {
    int64_t begin = p.rows * t / tiles, end = p.rows * (t + 1) / tiles;
    // One or two rows leave no time beside memory, and read it in order. Three and four read a panel in parts: fetched,
    // BF16 takes 1.6 and Q4_K 2.5 times less (`trireme bench kernels`, 4 rows, 2 threads).
    loops[end - begin - 1](p, begin, p.rows > 2 && t == 0 ? p.next : nullptr);
  }
}

}  // namespace

}  // namespace trireme
