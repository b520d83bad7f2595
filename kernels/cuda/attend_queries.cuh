#pragma once

// A few queries and one block of positions on tensor cores, by a warp (kernels/cuda/attend_tensor.cuh).
#include "kernels/cuda/attend_values.cuh"
#include "kernels/cuda/attend_weights.cuh"

namespace trireme::cuda {

// kHalves: 8 queries or 16; kGroups: of 64 values of a head, at most.
template <int kHalves, int kGroups>
struct TensorWork {
  static constexpr int kQueries = 8 * kHalves, kValues = 2 * kGroups;  // a lane's, where results join
  static constexpr int kChunks = 4 * kGroups, kTiles = 8 * kGroups;
  static constexpr int kWeightBytes = 0;
  static constexpr bool kOneSpan = true;

  __device__ static float exp(float x) { return exp_weight(x); }
  static int tile_bytes(int head_dim) { return tensor_tile_bytes(head_dim); }

  TileCopy copy;
  unsigned q[kChunks][4];
  Seen seen[kHalves];
  float scores[kPositionTiles][4];
  unsigned weights[2][4];

  __device__ TensorWork(int head_dim, std::byte*) : copy(head_dim, lane(), kWarp) {}
  __device__ void copy_k(std::byte* to, const std::byte* from) const { copy.copy_k(to, from); }
  __device__ void copy_v(std::byte* to, const std::byte* from) const { copy.copy_v(to, from); }

  __device__ void take(const Queries& queries) {
    const auto of = [&](int n) { return n < queries.count ? queries.values + n * queries.stride : nullptr; };
    const float *first = of(lane() / 4), *second = kHalves == 2 ? of(lane() / 4 + 8) : nullptr;
    UNROLL
    for (int c = 0; c < kChunks; c++)
      if (c * 16 < queries.head_dim) take_queries(first, second, c * 16, q[c]);
    UNROLL
    for (int h = 0; h < kHalves; h++) seen[h] = queries.seen[lane() / 4 + 8 * h];
  }
  __device__ void score_keys(const std::byte* k, const Queries& queries) {
    UNROLL
    for (int i = 0; i < 4 * kPositionTiles; i++) scores[i / 4][i % 4] = 0;
    score_tile<kChunks>(
        k, queries.head_dim,
        [this](int c, unsigned(&x)[4]) {
          UNROLL
          for (int i = 0; i < 4; i++) x[i] = q[c][i];
        },
        scores);
  }
  __device__ void weigh(const Attention& a, const Queries& queries, int block, float* result) {
    const BlockWeights<kHalves> now(a, block, seen, sees_whole(queries, block), scores);
    UNROLL
    for (int i = 0; i < 8; i++) weights[i / 4][i % 4] = now.pairs[i / 4][i % 4];
    UNROLL
    for (int h = 0; h < kHalves; h++)
      if (const int n = lane() / 4 + 8 * h; lane() % 4 == 0 && n < queries.count)
        result[n * queries.stride] = now.largest[h], result[n * queries.stride + 1] = now.sum[h];
  }
  __device__ void sum(const std::byte* v, const Queries& queries, int block, float* result) {
    const auto put = [&](int tile, const float(&out)[2][4]) {
      UNROLL
      for (int j = 0; j < 8; j++) {
        const int i = j % 4, n = lane() / 4 + i / 2 * 8, d = (tile + j / 4) * 8 + lane() % 4 * 2 + i % 2;
        if (i < 2 * kHalves && n < queries.count) result[n * queries.stride + 2 + d] = out[j / 4][i];
      }
    };
    if (sees_whole(queries, block))
      sum_all_values<kTiles>(v, weights, queries.head_dim, put);
    else
      sum_seen_values<kHalves, kTiles>(v, weights, queries.head_dim, queries.seen, block, put);
  }

 private:
  __device__ static bool sees_whole(const Queries& queries, int block) {
    return all_see(queries.seen[0], queries.seen[queries.count - 1], block);
  }
};

}  // namespace trireme::cuda
