#pragma once

// What a warp does with one block of a cache's positions, in FP32 chains: scores a position a lane, values every 32nd
// of a head.
#include "kernels/cuda/attend_block.cuh"

namespace trireme::cuda {

template <DType kType>
__device__ inline float page_value(const std::byte* tile, int i) {
  if constexpr (kType == DType::bf16) return to_float(reinterpret_cast<const BF16*>(tile)[i]);
  return reinterpret_cast<const float*>(tile)[i];
}

// Scores of a lane's position, chains over a head's values.
template <DType kType, int kQueries>
__device__ inline void score(const std::byte* k, const float* q, int stride, int head_dim, float (&dot)[kQueries]) {
  int d = 0;
  for (; d + 4 <= head_dim; d += 4) {
    float key[4];
    UNROLL
    for (int i = 0; i < 4; i++) key[i] = page_value<kType>(k, (d + i) * kBlockTokens + lane());
    UNROLL
    for (int n = 0; n < kQueries; n++) {
      const float4 x = *reinterpret_cast<const float4*>(q + n * stride + d);
      dot[n] = std::fma(x.x, key[0], dot[n]);
      dot[n] = std::fma(x.y, key[1], dot[n]);
      dot[n] = std::fma(x.z, key[2], dot[n]);
      dot[n] = std::fma(x.w, key[3], dot[n]);
    }
  }
  for (; d < head_dim; d++)
    for (int n = 0; n < kQueries; n++)
      dot[n] = std::fma(q[n * stride + d], page_value<kType>(k, d * kBlockTokens + lane()), dot[n]);
}

// Values lane + 32 c of a block, summed with the weights of all its positions.
template <DType kType, int kQueries, int kValues>
__device__ inline void sum_values(const std::byte* v, const float* weights, int head_dim,
                                  float (&out)[kQueries][kValues]) {
  for (int j = 0; j < kBlockTokens; j += 4) {
    float value[4][kValues];
    UNROLL
    for (int i = 0; i < 4; i++) UNROLL
    for (int c = 0; c < kValues; c++) {
      const int d = c * kWarp + lane();
      value[i][c] = d < head_dim ? page_value<kType>(v, (j + i) * head_dim + d) : 0;
    }
    UNROLL
    for (int n = 0; n < kQueries; n++) {
      const float4 weight = *reinterpret_cast<const float4*>(weights + n * kBlockTokens + j);
      UNROLL
      for (int c = 0; c < kValues; c++) {
        out[n][c] = std::fma(weight.x, value[0][c], out[n][c]);
        out[n][c] = std::fma(weight.y, value[1][c], out[n][c]);
        out[n][c] = std::fma(weight.z, value[2][c], out[n][c]);
        out[n][c] = std::fma(weight.w, value[3][c], out[n][c]);
      }
    }
  }
}

// The same where queries see some positions only: the others may hold anything.
template <DType kType, int kQueries, int kValues>
__device__ inline void sum_seen_values(const std::byte* v, const float* weights, int head_dim, const Seen* seen,
                                       int block, float (&out)[kQueries][kValues]) {
  for (int j = 0; j < kBlockTokens; j++) UNROLL
  for (int c = 0; c < kValues; c++) {
    const int d = c * kWarp + lane();
    const float value = d < head_dim ? page_value<kType>(v, j * head_dim + d) : 0;
    UNROLL
    for (int n = 0; n < kQueries; n++)
      if (seen[n].has(block, j)) out[n][c] = std::fma(weights[n * kBlockTokens + j], value, out[n][c]);
  }
}

// The block's K and V stand in shared memory as in the cache.
template <DType kType, int kQueriesAtMost, int kValuesOfLane>
struct ChainWork {
  static constexpr int kQueries = kQueriesAtMost, kValues = kValuesOfLane;
  static constexpr int kWeightBytes = kQueries * kBlockTokens * 4;  // a warp's
  static constexpr bool kOneSpan = false;                           // a block of threads takes rows of several

  __device__ static float exp(float x) { return exp_float(x); }
  static int tile_bytes(int head_dim) { return head_dim * kBlockTokens * static_cast<int>(dtype_bytes(kType)); }

  int bytes;
  float* weights;
  float dot[kQueries];

  __device__ ChainWork(int head_dim, std::byte* weight_memory)
      : bytes(head_dim * kBlockTokens * (kType == DType::bf16 ? 2 : 4)),
        weights(reinterpret_cast<float*>(weight_memory)) {}
  __device__ void take(const Queries&) {}
  __device__ void copy_k(std::byte* to, const std::byte* from) const {
    for (int i = lane() * kPiece; i < bytes; i += kWarp * kPiece) copy_once(to + i, from + i);
  }
  __device__ void copy_v(std::byte* to, const std::byte* from) const { copy_k(to, from); }

  __device__ void score_keys(const std::byte* k, const Queries& queries) {
    UNROLL
    for (int n = 0; n < kQueries; n++) dot[n] = 0;
    score<kType, kQueries>(k, queries.values, queries.stride, queries.head_dim, dot);
  }
  __device__ void weigh(const Attention& a, const Queries& queries, int block, float* result) {
    UNROLL
    for (int n = 0; n < kQueries; n++) {
      if (n >= queries.count) continue;
      const bool sees = queries.seen[n].has(block, lane());
      float p = dot[n] * a.scale;
      if (a.softcap > 0) p = soft_cap(p, a.softcap);
      const float largest = largest_of(sees && p > -INFINITY ? p : -INFINITY);  // a NaN is nobody's largest
      p = sees ? exp_float(p - largest) : 0.0f;
      weights[n * kBlockTokens + lane()] = p;
      const float sum = sum_lanes(p, kBlockTokens);
      if (lane() == 0) result[n * queries.stride] = largest, result[n * queries.stride + 1] = sum;
    }
    __syncwarp();
  }
  __device__ void sum(const std::byte* v, const Queries& queries, int block, float* result) {
    float out[kQueries][kValues] = {};
    if (all_see(queries.seen[0], queries.seen[queries.count - 1], block))
      sum_values<kType, kQueries, kValues>(v, weights, queries.head_dim, out);
    else
      sum_seen_values<kType, kQueries, kValues>(v, weights, queries.head_dim, queries.seen, block, out);
    UNROLL
    for (int n = 0; n < kQueries; n++) UNROLL
    for (int c = 0; c < kValues; c++)
      if (const int d = c * kWarp + lane(); n < queries.count && d < queries.head_dim)
        result[n * queries.stride + 2 + d] = out[n][c];
  }
};

}  // namespace trireme::cuda
