#pragma once

// How a block's scores become weights (kernels/cuda/attend_tensor.cuh).
#include "kernels/cuda/attend_tensor.cuh"

namespace trireme::cuda {

// What scores become: weights as first operands of 16 positions each, and of each query the largest score and the sum
// of weights, on all lanes of its quad. kHalves: 1 where queries 8 to 15 are none.
template <int kHalves>
struct BlockWeights {
  unsigned pairs[2][4] = {};
  float largest[kHalves], sum[kHalves];

  __device__ BlockWeights(const Attention& a, int block, const Seen (&seen)[kHalves], bool whole,
                          float (&scores)[kPositionTiles][4]) {
    UNROLL
    for (int tile = 0; tile < kPositionTiles; tile++) UNROLL
    for (int i = 0; i < 2 * kHalves; i++) scores[tile][i] = scores[tile][i] * a.scale;
    if (a.softcap > 0) {
      UNROLL
      for (int tile = 0; tile < kPositionTiles; tile++) UNROLL
      for (int i = 0; i < 2 * kHalves; i++) scores[tile][i] = soft_cap(scores[tile][i], a.softcap);
    }
    UNROLL
    for (int h = 0; h < kHalves; h++) {
      if (!whole) each_unseen(block, seen[h], [&](int tile, int i) { scores[tile][2 * h + i] = -INFINITY; });
      largest[h] = -INFINITY;
      UNROLL
      for (int tile = 0; tile < kPositionTiles; tile++) UNROLL
      for (int i = 0; i < 2; i++) largest[h] = std::fmax(largest[h], scores[tile][2 * h + i]);  // never a NaN
      UNROLL
      for (int step = 2; step >= 1; step /= 2)
        largest[h] = std::fmax(largest[h], __shfl_xor_sync(kAllLanes, largest[h], step));
      float weights[kPositionTiles][2];
      UNROLL
      for (int tile = 0; tile < kPositionTiles; tile++) UNROLL
      for (int i = 0; i < 2; i++) weights[tile][i] = exp_weight(scores[tile][2 * h + i] - largest[h]);
      if (!whole) each_unseen(block, seen[h], [&](int tile, int i) { weights[tile][i] = 0; });
      UNROLL
      for (int tile = 0; tile < kPositionTiles; tile++) {
        const unsigned pair = bf16_pair(weights[tile][0], weights[tile][1]);
        pairs[tile / 2][tile % 2 * 2 + h] = pair;
        weights[tile][0] = std::bit_cast<float>(pair << 16), weights[tile][1] = std::bit_cast<float>(pair & 0xffff0000);
      }
      sum[h] = sum_by_halves(weights);
    }
  }

 private:
  // A lane's positions of the block that a query does not see.
  template <typename Do>
  __device__ static void each_unseen(int block, Seen seen, const Do& act) {
    UNROLL
    for (int tile = 0; tile < kPositionTiles; tile++) UNROLL
    for (int i = 0; i < 2; i++)
      if (!seen.has(block, tile * 8 + lane() % 4 * 2 + i)) act(tile, i);
  }
  // 32 weights, those of a query: position i with i + 16, then with i + 8, ... .
  __device__ static float sum_by_halves(const float (&weights)[kPositionTiles][2]) {
    float sums[2];
    UNROLL
    for (int i = 0; i < 2; i++) {
      sums[i] = (weights[0][i] + weights[2][i]) + (weights[1][i] + weights[3][i]);
      sums[i] = sums[i] + __shfl_xor_sync(kAllLanes, sums[i], 2);
      sums[i] = sums[i] + __shfl_xor_sync(kAllLanes, sums[i], 1);
    }
    return sums[0] + sums[1];
  }
};

}  // namespace trireme::cuda
