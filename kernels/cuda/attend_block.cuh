#pragma once

// What a warp does with one block of a cache's positions that lies in shared memory, for some queries, and how the
// results of blocks become one (kernels/cuda/attention.cu).
#include "kernels/cuda/tensor.cuh"

namespace trireme::cuda {

template <DType kType>
__device__ inline float page_value(const std::byte* tile, int i) {
  if constexpr (kType == DType::bf16) return to_float(reinterpret_cast<const BF16*>(tile)[i]);
  return reinterpret_cast<const float*>(tile)[i];
}

__device__ inline void copy_tile(std::byte* to, const std::byte* from, int bytes) {
  for (int i = lane() * 16; i < bytes; i += kWarp * 16) copy_once(to + i, from + i);
}

// The positions that a query sees.
struct Seen {
  int first, end;

  __device__ int blocks() const { return (end + kBlockTokens - 1) / kBlockTokens; }
  __device__ bool has(int block, int of_block) const {
    return block * kBlockTokens + of_block >= first && block * kBlockTokens + of_block < end;
  }
};

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

// all = all, then blocks [begin, end) of a round one after the other, by a warp: results of one query, a block's behind
// the other's by `stride`. first: the first of them is all there is before. Lane i has block i's factors; the chains
// then take them in order.
template <int kValues>
__device__ inline void join(float* all, const float* blocks, int stride, int begin, int end, bool first, int head_dim) {
  const float* before_all = first ? blocks + begin++ * stride : all;
  float before = before_all[0], largest = before, sum = before_all[1], out[kValues];
  for (int i = begin; i < end && i <= lane(); i++) {
    before = largest;
    const float here = blocks[i * stride];
    largest = here > before ? here : before;
  }
  const float old_factor = exp_float(before - largest);
  const float new_factor = exp_float((lane() < end ? blocks[lane() * stride] : largest) - largest);
  UNROLL
  for (int c = 0; c < kValues; c++)
    if (const int d = c * kWarp + lane(); d < head_dim) out[c] = before_all[2 + d];
  for (int i = begin; i < end; i++) {
    const float* block = blocks + i * stride;
    const float old = __shfl_sync(kAllLanes, old_factor, i), fresh = __shfl_sync(kAllLanes, new_factor, i);
    sum = std::fma(sum, old, block[1] * fresh);
    UNROLL
    for (int c = 0; c < kValues; c++)
      if (const int d = c * kWarp + lane(); d < head_dim) out[c] = std::fma(out[c], old, block[2 + d] * fresh);
  }
  __syncwarp();  // all lanes have read
  UNROLL
  for (int c = 0; c < kValues; c++)
    if (const int d = c * kWarp + lane(); d < head_dim) all[2 + d] = out[c];
  if (lane() == kWarp - 1) all[0] = largest, all[1] = sum;
  __syncwarp();
}

}  // namespace trireme::cuda
