#pragma once

// What only some GPUs' instructions do: products on tensor cores, and copies to shared memory that no register waits
// for. tests/testkit/cuda/cuda_emulation.h has the same for a CPU.
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

inline constexpr int kLine = 128;  // bytes: all banks of shared memory
inline constexpr int kPiece = 16;  // bytes that a thread copies at once
inline constexpr int kPieces = kLine / kPiece;

#ifdef __CUDACC__
// sum += a b by a warp: a is [16, 16], b [16, 8], both BF16 (PTX: mma.m16n8k16).
__device__ inline void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same, both FP16.
__device__ inline void tensor_multiply_f16(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// sum += a b by a warp: a is [16, 32] unsigned bytes, b [32, 8] signed ones (PTX: mma.m16n8k32).
__device__ inline void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], int (&sum)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two numbers as BF16, rounded to nearest even: the first in the lower half.
__device__ inline unsigned bf16_pair(float first, float second) {
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

// Four matrices of 8 x 8 BF16: lanes 8 i to 8 i + 7 say where the rows of matrix i begin, a piece of shared memory
// each. Lane 4 quad + member gets what stands in column quad, rows 2 member and 2 member + 1, of each: the second
// operand of two products, 16 rows by 8 columns each (PTX: ldmatrix.trans).
__device__ inline void load_columns(const std::byte* row, unsigned (&matrices)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(shared_address(row))
               : "memory");
}

// Four E4M3 as FP16, exact: the first two, the others. GPUs before sm_89 have no such instruction: they are never asked
// (InputForms::e4m3).
__device__ inline void halves_of(unsigned codes, unsigned& low, unsigned& high) {
#if __CUDA_ARCH__ >= 890
  asm("{ .reg .b16 first, second; mov.b32 {first, second}, %2;"
      " cvt.rn.f16x2.e4m3x2 %0, first; cvt.rn.f16x2.e4m3x2 %1, second; }"
      : "=r"(low), "=r"(high)
      : "r"(codes));
#else
  __trap();
#endif
}

// sum += a b by a warp: a is [16, 32], b [32, 8], both E4M3, placed like the bytes above. In FP16, the first two of
// every four columns, then the others: sm_90 has FP8 tensor cores for wgmma only, and mma.m16n8k32 on E4M3 would become
// the same and an addition more.
__device__ inline void tensor_multiply_e4m3(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  unsigned x[2][4], y[2][2];
  UNROLL
  for (int i = 0; i < 4; i++) halves_of(a[i], x[0][i], x[1][i]);
  UNROLL
  for (int i = 0; i < 2; i++) halves_of(b[i], y[0][i], y[1][i]);
  UNROLL
  for (int half = 0; half < 2; half++) tensor_multiply_f16(x[half], y[half], sum);
}

// Copies 16 bytes past L1 (weights, which come once); both ends are aligned to them.
__device__ inline void copy_once(std::byte* shared, const std::byte* global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global));
}
// The first `bytes` of them and zeros for the rest; of none the address may be any.
__device__ inline void copy_once(std::byte* shared, const std::byte* global, int bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(bytes));
}
// The same through L1, for what other warps of the SM read, too; kSize: 4 or 16.
template <int kSize>
__device__ inline void copy_shared(std::byte* shared, const std::byte* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(shared)), "l"(global), "n"(kSize));
}
template <int kSize>
__device__ inline void copy_shared(std::byte* shared, const std::byte* global, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)), "l"(global), "n"(kSize),
               "r"(bytes));
}
// Asks L2 for the 128 bytes around an address.
__device__ inline void prefetch_line(const std::byte* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}
// Ends a group of this thread's copies, which may be empty.
__device__ inline void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all groups of this thread but the last kPending; other threads' are seen behind a barrier.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Exact.
__device__ inline float half_value(unsigned bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<unsigned short>(bits)));
  return value;
}

// Both BF16 of a pair times 2^120, rounded where they must be; subnormals are numbers here.
__device__ inline unsigned scaled_up(unsigned pair) {
  constexpr unsigned kScale = 0x7b807b80, kMinusZero = 0x80008000;
  unsigned out;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(pair), "r"(kScale), "r"(kMinusZero));
  return out;
}
#endif

}  // namespace trireme::cuda
