#pragma once

// Values of a block on tensor cores, summed with the weights of its positions (kernels/cuda/attend_tensor.cuh).
#include "kernels/cuda/attend_tensor.cuh"

namespace trireme::cuda {

// Of V a lane has pairs of positions, 16 j + 8 h + 2 member and the next: bits of those seen.
struct PairsSeen {
  unsigned of[2][2] = {};

  PairsSeen() = default;
  __device__ PairsSeen(Seen seen, int block) {
    UNROLL
    for (int i = 0; i < 4; i++) {
      const int at = i * 8 + lane() % 4 * 2;
      of[i / 2][i % 2] = (seen.has(block, at) ? 0x0000ffffu : 0) | (seen.has(block, at + 1) ? 0xffff0000u : 0);
    }
  }
};

// Second operands of values 8 tile to 8 tile + 15 and positions 16 j to 16 j + 15.
__device__ inline void load_values(const std::byte* v, int tile, int j, unsigned (&columns)[4]) {
  const int matrix = lane() / 8, position = matrix % 2 * 8 + lane() % 8;
  load_columns(v + v_offset(j * 16 + position, tile + matrix / 2), columns);
}

// Two tiles' sums: out[t][i] of values 8 (tile + t) + 2 member + i % 2, query quad + i / 2 * 8.
template <bool kSome>
__device__ inline void sum_pair(const std::byte* v, const unsigned (&weights)[2][4], int tile, const PairsSeen& seen,
                                float (&out)[2][4]) {
  UNROLL
  for (int j = 0; j < 2; j++) {
    unsigned columns[4];
    load_values(v, tile, j, columns);
    if constexpr (kSome) {  // memory of the others may hold anything
      UNROLL
      for (int i = 0; i < 4; i++) columns[i] &= seen.of[j][i % 2];
    }
    tensor_multiply(weights[j], {columns[0], columns[1]}, out[0]);
    tensor_multiply(weights[j], {columns[2], columns[3]}, out[1]);
  }
}

// Whether an infinity, a NaN or a number of 2^65 and more stands where some queries see it and others do not: their
// weight of 0 would not hide it, or not for certain, for a GPU's sum of 16 products keeps the bits below the largest
// exponent, and nothing says which one a product with 0 has.
__device__ inline bool has_strange(const std::byte* v, int head_dim, const PairsSeen& by_any, const PairsSeen& by_all) {
  bool strange = false;
  for (int tile = 0; tile * 8 < head_dim; tile += 2)
    for (int j = 0; j < 2; j++) {
      unsigned columns[4];
      load_values(v, tile, j, columns);
      UNROLL
      for (int i = 0; i < 4; i++) {
        const unsigned pair = columns[i] & by_any.of[j][i % 2] & ~by_all.of[j][i % 2];
        strange = strange || (pair & 0x6000u) == 0x6000u || (pair & 0x60000000u) == 0x60000000u;
      }
    }
  return __any_sync(kAllLanes, strange) != 0;
}

// use(tile, out) for all pairs of tiles of a head, of which there are kTiles at most. The warp's queries see the whole
// block.
template <int kTiles, typename Use>
__device__ inline void sum_all_values(const std::byte* v, const unsigned (&weights)[2][4], int head_dim,
                                      const Use& use) {
  UNROLL
  for (int tile = 0; tile < kTiles; tile += 2) {
    if (tile * 8 >= head_dim) break;
    float out[2][4] = {};
    sum_pair<false>(v, weights, tile, {}, out);
    use(tile, out);
  }
}

// The same where they may not. seen: [8 kHalves], the warp's, in order.
template <int kHalves, int kTiles, typename Use>
__device__ inline void sum_seen_values(const std::byte* v, const unsigned (&weights)[2][4], int head_dim,
                                       const Seen* seen, int block, const Use& use) {
  const Seen first = seen[0], last = seen[8 * kHalves - 1];
  const PairsSeen by_any(Seen{first.first, last.end}, block);
  const bool strange = has_strange(v, head_dim, by_any, PairsSeen(Seen{last.first, first.end}, block));
  UNROLL
  for (int tile = 0; tile < kTiles; tile += 2) {
    if (tile * 8 >= head_dim) break;
    float out[2][4] = {};
    sum_pair<true>(v, weights, tile, by_any, out);
    if (strange) {  // each query for itself, by all lanes
      NO_UNROLL
      for (int n = 0; n < 8 * kHalves; n++) {
        float alone[2][4] = {};
        sum_pair<true>(v, weights, tile, PairsSeen(seen[n], block), alone);
        UNROLL
        for (int j = 0; j < 8; j++)
          if (lane() / 4 + j % 4 / 2 * 8 == n) out[j / 4][j % 4] = alone[j / 4][j % 4];
      }
    }
    use(tile, out);
  }
}

}  // namespace trireme::cuda
