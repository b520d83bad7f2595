#pragma once

// CUDA's words for a CPU, so that kernels/cuda can be compiled by any C++ compiler and compared with the reference
// where there is no GPU. The threads of a block are fibers of one thread that change places at barriers and warp
// operations; blocks run one after the other. What it cannot show: memory that only a GPU or only a host reaches, races
// inside a warp between such points, and speed.
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __shared__ static

namespace trireme::cuda {

struct EmulatedIndex {
  unsigned x = 0;
};
extern EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;  // of the fiber that runs

// threads: a multiple of 32. Rethrows what a thread threw. stream: the kernel runs when its stream does
// (emulated_gpu.h); null: now.
void emulate_kernel(void* stream, int64_t blocks, int threads, std::function<void()> kernel);

// Set by a program that has streams.
extern void (*enqueue_on_stream)(void* stream, std::function<void()> work);

void __syncthreads();

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
T __shfl_xor_sync(unsigned, T value, int mask) {
  return from_lane(value, this_lane() ^ mask);
}
inline int __all_sync(unsigned, int predicate) {
  const uint64_t* words = exchange_in_warp(predicate != 0);
  for (int i = 0; i < 32; i++)
    if (!words[i]) return 0;
  return 1;
}

// Four products of signed bytes, added.
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; i++) sum += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
  return sum;
}

// mma.m16n8k16 of PTX, BF16: where the lanes of a warp hold what. In which order a GPU adds is its own; here it is that
// of the CPU's levels, so that whatever stands around it can be compared bit by bit.
void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]);

// mma.m16n8k32 of PTX, u8 by s8: where the lanes of a warp hold what.
void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], int (&sum)[4]);

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
