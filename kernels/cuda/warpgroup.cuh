#pragma once

// Products of a warpgroup (PTX: wgmma), which only sm_90a has: four warps multiply 64 outputs by the rows that lie in
// shared memory, where the instruction reads them by itself and later: until they are finished nobody may touch the
// rows, the registers of both operands or the sums.
// tests/testkit/cuda/cuda_emulation.h has the same for a CPU.
#include "kernels/cuda/step_multiply.cuh"

namespace trireme::cuda {

// The instruction's word for rows at a byte of shared memory: 16 BF16 of each, swizzled by 32 bytes (row_offset()),
// eight rows after the other; begins at a multiple of 256 bytes. PTX ISA, "Matrix descriptor": address, [ignored for
// columns that fit a swizzle], bytes from eight rows to the next, all in 16 bytes; the swizzle.
__device__ inline uint64_t rows_descriptor(const std::byte* rows) {
  constexpr uint64_t kNextRows = kTensorRows * 2 * kPiece / 16, kIgnored = 1, kSwizzle32 = 3;
  return shared_address(rows) / 16 | kIgnored << 16 | kNextRows << 32 | kSwizzle32 << 62;
}

#ifdef __CUDACC__
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TRIREME_WGMMA(...) asm volatile(__VA_ARGS__)
#else
#define TRIREME_WGMMA(...) static_cast<void>(0)  // sums stay as they are, which shows (src/device/warpgroups.h)
#endif

// Between a thread's copies to shared memory that it has waited for and a barrier behind which products read them (PTX
// ISA, "Async proxy").
__device__ inline void show_copies_to_products() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
// Between what wrote a product's registers and the product.
__device__ inline void begin_products(unsigned (&w)[2][4]) {
  TRIREME_WGMMA("wgmma.fence.sync.aligned;"
                : "+r"(w[0][0]), "+r"(w[0][1]), "+r"(w[0][2]), "+r"(w[0][3]), "+r"(w[1][0]), "+r"(w[1][1]),
                  "+r"(w[1][2]), "+r"(w[1][3])::"memory");
}
// Ends a group of products, like end_copies().
__device__ inline void end_products() { TRIREME_WGMMA("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all groups but the last kPending.
template <int kPending>
__device__ inline void wait_for_products() {
  TRIREME_WGMMA("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// What is done to sums before it stays before it, and what comes after stays behind: compilers do not see that products
// change them later.
template <int kTiles>
__device__ inline void fence_sums(Sums<kTiles>& sums) {
  UNROLL
  for (int j = 0; j < kTiles * 8; j++) asm volatile("" : "+f"(sums[j / 8][j / 4 % 2][j % 4])::"memory");
}

// sums[..][h] += weights times 8 kTiles rows, both BF16. The warp's weights and sums lie as in tensor_multiply(): those
// of product h of its panel.
#define TRIREME_SUMS(t) "+f"(sums[t][h][0]), "+f"(sums[t][h][1]), "+f"(sums[t][h][2]), "+f"(sums[t][h][3])
template <int kTiles>
__device__ inline void enqueue_product(const unsigned (&weights)[4], uint64_t rows, int h, Sums<kTiles>& sums) {
  static_assert(kTiles == 4 || kTiles == 8);
  if constexpr (kTiles == 4)
    TRIREME_WGMMA(
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
        "%11, %12, %13, %14, %15}, {%16, %17, %18, %19}, %20, 1, 1, 1, 0;"
        : TRIREME_SUMS(0), TRIREME_SUMS(1), TRIREME_SUMS(2), TRIREME_SUMS(3)
        : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(rows));
  else
    TRIREME_WGMMA(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
        "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
        : TRIREME_SUMS(0), TRIREME_SUMS(1), TRIREME_SUMS(2), TRIREME_SUMS(3), TRIREME_SUMS(4), TRIREME_SUMS(5),
          TRIREME_SUMS(6), TRIREME_SUMS(7)
        : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(rows));
}
#undef TRIREME_SUMS
#undef TRIREME_WGMMA
#endif

}  // namespace trireme::cuda
