#pragma once

// Products of a warpgroup (PTX: wgmma), which only sm_90a has: four warps multiply 64 outputs, 16 each, by the rows
// that lie in shared memory, where the instruction reads them by itself and later: until they are finished nobody may
// touch the rows, the registers of both operands or the sums. tests/testkit/cuda/cuda_emulation.h has the same for a
// CPU.
#include "kernels/cuda/tensor.cuh"

namespace trireme::cuda {

// Sums of a warp's 16 outputs and kTiles tiles of 8 rows that a lane holds: those of rows 2 member and 2 member + 1 of
// a tile by i % 2, and of two outputs by i / 2. Which of them these are is said by who loads the weights: those of
// words 0 and 2 of the first operand, and of 1 and 3 (as in tensor_multiply()).
template <int kTiles>
using GroupSums = float[kTiles][4];

// Rows of shared memory as the instruction wants them: kPieces pieces of 16 bytes each, which change places so that
// eight rows' same pieces lie in different banks ("swizzle" of 128, 64 or 32 bytes). Begins at multiples of 1024 bytes.
template <int kPieces>
__device__ inline int swizzled_offset(int row, int piece) {
  static_assert(kPieces == 8 || kPieces == 4 || kPieces == 2);
  return row * kPieces * 16 + (piece ^ row * kPieces / 8 % kPieces) * 16;
}
// The instruction's word for such rows. PTX ISA, "Matrix descriptor": address, [ignored for columns that fit a
// swizzle], bytes from eight rows to the next, all in 16 bytes; the swizzle. Columns 16 further on are 2 more.
template <int kPieces>
__device__ inline uint64_t rows_descriptor(const std::byte* rows) {
  constexpr uint64_t kNextRows = 8 * kPieces, kIgnored = 1, kSwizzle = kPieces == 8 ? 1 : kPieces == 4 ? 2 : 3;
  return shared_address(rows) / 16 | kIgnored << 16 | kNextRows << 32 | kSwizzle << 62;
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
__device__ inline void begin_products(unsigned (&w)[4]) {
  TRIREME_WGMMA("wgmma.fence.sync.aligned;" : "+r"(w[0]), "+r"(w[1]), "+r"(w[2]), "+r"(w[3])::"memory");
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
__device__ inline void fence_sums(GroupSums<kTiles>& sums) {
  UNROLL
  for (int j = 0; j < kTiles * 4; j++) asm volatile("" : "+f"(sums[j / 4][j % 4])::"memory");
}

// sums += weights times 8 kTiles rows, both BF16 or, of f16_pairs, FP16.
#define TRIREME_SUMS(t) "+f"(sums[t][0]), "+f"(sums[t][1]), "+f"(sums[t][2]), "+f"(sums[t][3])
#define TRIREME_SUMS8(t)                                                                               \
  TRIREME_SUMS(t), TRIREME_SUMS(t + 1), TRIREME_SUMS(t + 2), TRIREME_SUMS(t + 3), TRIREME_SUMS(t + 4), \
      TRIREME_SUMS(t + 5), TRIREME_SUMS(t + 6), TRIREME_SUMS(t + 7)
#define TRIREME_PRODUCT8(type)                                                                                      \
  TRIREME_WGMMA("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                         \
                " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
                "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;"    \
                : TRIREME_SUMS8(0)                                                                                  \
                : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(rows))
#define TRIREME_PRODUCT16(type)                                                                                        \
  TRIREME_WGMMA("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                           \
                " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "    \
                "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, " \
                "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, " \
                "%61, %62, %63}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;"                                               \
                : TRIREME_SUMS8(0), TRIREME_SUMS8(8)                                                                   \
                : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(rows))
template <PackedForm kForm, int kTiles>
__device__ inline void enqueue_product(const unsigned (&weights)[4], uint64_t rows, GroupSums<kTiles>& sums) {
  static_assert(in_pairs(kForm) && (kTiles == 8 || kTiles == 16));
  if constexpr (kForm == PackedForm::bf16 && kTiles == 8) TRIREME_PRODUCT8("bf16");
  if constexpr (kForm == PackedForm::bf16 && kTiles == 16) TRIREME_PRODUCT16("bf16");
  if constexpr (kForm == PackedForm::f16_pairs && kTiles == 8) TRIREME_PRODUCT8("f16");
  if constexpr (kForm == PackedForm::f16_pairs && kTiles == 16) TRIREME_PRODUCT16("f16");
}
#undef TRIREME_PRODUCT16
#undef TRIREME_PRODUCT8
#undef TRIREME_SUMS8
#undef TRIREME_SUMS
#undef TRIREME_WGMMA
#endif

}  // namespace trireme::cuda
