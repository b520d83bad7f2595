#pragma once

// CUDA's words for a CPU, so that kernels/cuda can be compiled by any C++ compiler and compared with the reference
// where there is no GPU. The threads of a block are fibers of one thread that change places at barriers and warp
// operations; blocks run one after the other, in one order or the other. What it cannot show: memory that only a GPU or
// only a host reaches, races inside a warp between such points, and speed.
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>

#include "base/dtype.h"
#include "kernels/packed_matrix.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

namespace trireme::cuda {

struct EmulatedIndex {
  unsigned x = 0;
};
extern EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;  // of the fiber that runs

// Vectors that are loaded at once: at addresses that are multiples of their size.
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

// threads: a multiple of 32. shared: bytes of block_memory(). Rethrows what a thread threw. stream: the kernel runs
// when its stream does (emulated_gpu.h); null: now. early: its first block begins, up to wait_for_earlier(), before the
// kernel that it follows on the stream does anything: what it reads too early is of the past.
void emulate_kernel(void* stream, bool early, int64_t blocks, int threads, int64_t shared,
                    std::function<void()> kernel);

// NaNs, in whatever type, when a block begins.
std::byte* block_memory();
// Of sm_90, sm_80 and sm_86 by turns, or always that of sm_90.
int64_t most_shared();
void take_turns(bool turns);

// Set by a program that has streams.
// begin: of kernels that may begin early; whether the next one may, too.
extern void (*enqueue_on_stream)(void* stream, std::function<bool()> begin, std::function<void()> work);

void __syncthreads();
int __syncthreads_count(int predicate);

// A kernel that has begun before those that it follows are done (PTX: griddepcontrol). Its threads must wait, and may
// copy no rows of x before.
void wait_for_earlier();
void must_have_waited();
void let_next_begin();

// Asynchronous copies (PTX: cp.async). Blocks with even numbers see them at once, the others as late as they may, so
// that both a wait left out and memory used again too early show.
void copy_async(std::byte* shared, const std::byte* global, int size, int bytes);
void end_copies();
void wait_until_pending(int groups);

inline void copy_once(std::byte* shared, const std::byte* global, int bytes = 16) {
  copy_async(shared, global, 16, bytes);
}
template <int kSize>
void copy_shared(std::byte* shared, const std::byte* global, int bytes = kSize) {
  must_have_waited();
  copy_async(shared, global, kSize, bytes);
}
inline void prefetch_line(const std::byte*) {}
template <int kPending>
void wait_for_copies() {
  wait_until_pending(kPending);
}

// Every lane of the warp must call it; gives all lanes' words.
const uint64_t* exchange_in_warp(uint64_t word);

template <typename T>
T from_lane(T value, int lane) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  const uint64_t* words = exchange_in_warp(word);
  std::memcpy(&value, &words[lane], sizeof value);
  return value;
}
inline int this_lane() { return static_cast<int>(threadIdx.x % 32); }

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return from_lane(value, lane % 32);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, int delta) {
  return from_lane(value, this_lane() + delta < 32 ? this_lane() + delta : this_lane());
}
template <typename T>
T __shfl_up_sync(unsigned, T value, int delta) {
  return from_lane(value, this_lane() >= delta ? this_lane() - delta : this_lane());
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return from_lane(value, this_lane() ^ mask);
}
inline int __all_sync(unsigned, int predicate) {
  const uint64_t* words = exchange_in_warp(predicate != 0);
  for (int i = 0; i < 32; i++)
    if (!words[i]) return 0;
  return 1;
}

inline int __any_sync(unsigned lanes, int predicate) { return !__all_sync(lanes, !predicate); }

inline unsigned __ballot_sync(unsigned, int predicate) {
  const uint64_t* words = exchange_in_warp(predicate != 0);
  unsigned lanes = 0;
  for (unsigned i = 0; i < 32; i++) lanes |= static_cast<unsigned>(words[i]) << i;
  return lanes;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
// Threads are fibers, which give way elsewhere; blocks run one after the other.
inline int atomicAdd(int* at, int value) { return std::exchange(*at, *at + value); }
inline void __threadfence() {}
template <typename T>
T __ldcg(const T* at) {
  return *at;
}

inline void __syncwarp() { exchange_in_warp(0); }

// Bytes of b and a (above and below), four of them chosen by the nibbles of `select`.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned select) {
  const uint64_t both = a | uint64_t{b} << 32;
  unsigned out = 0;
  for (unsigned i = 0; i < 4; i++) out |= static_cast<unsigned>(both >> (select >> 4 * i & 7) * 8 & 255) << 8 * i;
  return out;
}

inline float half_value(unsigned bits) { return to_float(F16{static_cast<uint16_t>(bits)}); }
inline unsigned scaled_up(unsigned pair) {
  const BF16 low = to_bf16(to_float(BF16{static_cast<uint16_t>(pair)}) * 0x1p120f),
             high = to_bf16(to_float(BF16{static_cast<uint16_t>(pair >> 16)}) * 0x1p120f);
  return low.bits | unsigned{high.bits} << 16;
}

// mma.m16n8k16 of PTX, BF16: where the lanes of a warp hold what. In which order a GPU adds is its own; here it is that
// of the CPU's levels, given that a lane's two registers are neighbouring columns (kernels/cuda/step.cuh), so that
// whatever stands around it can be compared bit by bit.
void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]);
// FP16, in the order of columns.
void tensor_multiply_f16(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]);

inline unsigned bf16_pair(float first, float second) {
  return to_bf16(first).bits | unsigned{to_bf16(second).bits} << 16;
}
// ldmatrix.trans of PTX.
void load_columns(const std::byte* row, unsigned (&matrices)[4]);

// mma.m16n8k32 of PTX, u8 by s8: where the lanes of a warp hold what.
void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], int (&sum)[4]);

// The same placement, both E4M3, sums in FP32 in the order of columns (a GPU: kernels/cuda/tensor.cuh).
void tensor_multiply_e4m3(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]);

// Where a byte of block_memory() lies.
unsigned shared_address(const std::byte* at);

// wgmma.m64nNk16 of PTX, BF16 or FP16, the first operand in registers: the same placement and order, rows of the second
// operand as their descriptor says. Some blocks see a product at once, the others when they wait for it, when it reads
// its operands and sums, too. Groups must begin with begin_products(), and copies that a thread waited for must be
// shown before any product reads.
void begin_products();
void enqueue_tiles(bool f16, const unsigned (&weights)[4], uint64_t rows, float (*sums)[4], int tiles);
void end_products();
void wait_until_products(int groups);
void show_copies_to_products();

inline void begin_products(const unsigned (&)[4]) { begin_products(); }
template <int kTiles>
void fence_sums(float (&)[kTiles][4]) {}
template <PackedForm kForm, int kTiles>
void enqueue_product(const unsigned (&weights)[4], uint64_t rows, float (&sums)[kTiles][4]) {
  enqueue_tiles(kForm == PackedForm::f16_pairs, weights, rows, sums, kTiles);
}
template <int kPending>
void wait_for_products() {
  wait_until_products(kPending);
}

// Memory that other processes write, too.
inline void store_release(uint32_t* at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
inline uint32_t load_acquire(const uint32_t* at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }

// A thread waits for another GPU. When nothing of its block can go on, emulate_kernel's work throws StillWaiting: the
// kernel is to be run again from its beginning, which one that waits must bear.
struct StillWaiting {};
void __nanosleep(unsigned);

template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}

}  // namespace trireme::cuda
