#pragma once

// What the kernels share: how they are enqueued, and the order of sums inside a warp.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/must.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/elementary.h"
#include "kernels/packed_layout.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif  // else tests/testkit/cuda/cuda_emulation.h came before, which runs the threads of a block as fibers of one CPU
        // thread

#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")  // small arrays stay in registers
#else
#define UNROLL
#endif

namespace trireme::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kThreads = 256;  // of a block, unless a kernel says otherwise

// Blocks that hold `items`.
TRIREME_HD inline int64_t blocks_of(int64_t items, int64_t each) { return (items + each - 1) / each; }

template <typename... Parameters, typename... Arguments>
void enqueue(const Launch& launch, int64_t blocks, int threads, void (*kernel)(Parameters...),
             const Arguments&... arguments) {
  if (launch.part != 0 || blocks == 0) return;
#ifdef __CUDACC__
  kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0,
           static_cast<cudaStream_t>(launch.stream)>>>(arguments...);
#else
  emulate_kernel(launch.stream, blocks, threads, [=] { kernel(arguments...); });
#endif
}

// One of `items` for every thread of the grid; -1: none is left for it.
__device__ inline int64_t item_of(int64_t items) {
  const int64_t item = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  return item < items ? item : -1;
}
__device__ inline int lane() { return static_cast<int>(threadIdx.x % kWarp); }
__device__ inline int warp() { return static_cast<int>(threadIdx.x / kWarp); }
// The warp's number in the grid.
__device__ inline int64_t warp_item() { return int64_t{blockIdx.x} * (blockDim.x / kWarp) + warp(); }

// The sums of the first `count` lanes (16 or 32), added as all levels do: halves, pairwise. On every lane.
__device__ inline float sum_lanes(float sum, int count) {
  for (int half = count / 2; half >= 1; half /= 2) sum = sum + __shfl_down_sync(kAllLanes, sum, half);
  return __shfl_sync(kAllLanes, sum, 0);
}

// For orders that cannot be seen in the result.
__device__ inline float largest_of(float x) {
  for (int step = kWarp / 2; step >= 1; step /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, step);
    x = other > x ? other : x;
  }
  return x;
}
__device__ inline int sum_of(int x) {
  for (int step = kWarp / 2; step >= 1; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

// A tree of sums as a kernel's parameter.
struct Tree {
  int nodes = 0;
  uint8_t pops[kMostTreeUnits];
};
inline Tree tree_of(const TreeProgram& program) {
  must(program.pops.size() <= kMostTreeUnits, "a tree fits a kernel's parameters");
  Tree tree;
  tree.nodes = static_cast<int>(program.pops.size());
  for (size_t i = 0; i < program.pops.size(); i++) tree.pops[i] = static_cast<uint8_t>(program.pops[i]);
  return tree;
}
inline constexpr int kTreeDepth = 40;  // 22 roots of a rank and 11 nodes on the way down to a leaf, at most, of 2^11

#ifdef __CUDACC__
// sum += a b on tensor cores, by a warp: a is [16, 16], b [16, 8], both BF16 (PTX: mma.m16n8k16).
__device__ inline void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// sum += a b on tensor cores, by a warp: a is [16, 32] unsigned bytes, b [32, 8] signed ones (PTX: mma.m16n8k32).
__device__ inline void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], int (&sum)[4]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Between GPUs. What a thread (or what ran before its kernel) wrote before the one is seen by who reads it by the other.
__device__ inline void store_release(uint32_t* at, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(at), "r"(value) : "memory");
}
__device__ inline uint32_t load_acquire(const uint32_t* at) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
}
#endif

// Pushes a node's sum and joins what the tree joins after it.
__device__ inline void push(float* stack, int& depth, float sum, int pops) {
  stack[depth++] = sum;
  for (; pops > 0; pops--, depth--) stack[depth - 2] = stack[depth - 2] + stack[depth - 1];
}

void fill_rows(Kernels& kernels);
void fill_matmul(Kernels& kernels);
void fill_attention(Kernels& kernels);
void fill_experts(Kernels& kernels);

}  // namespace trireme::cuda
