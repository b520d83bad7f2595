#pragma once

// What the kernels share: how they are enqueued, and the order of sums inside a warp.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <utility>

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
#define NO_UNROLL _Pragma("unroll 1")
#else
#define UNROLL
#define NO_UNROLL
#endif

namespace trireme::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kThreads = 256;  // of a block, unless a kernel says otherwise

inline constexpr int64_t kSms = 132;  // of an H100 or H200, which numbers of blocks are chosen for

inline constexpr int64_t kSharedUnasked = 48 << 10;  // bytes of shared memory that every block may have

// Blocks that hold `items`.
TRIREME_HD inline int64_t blocks_of(int64_t items, int64_t each) { return (items + each - 1) / each; }

#ifdef __CUDACC__
// The most that a block may ask for: 227 KiB of sm_90, 163 of sm_80. A process has one GPU, which is asked once.
inline int64_t most_shared() {
  static const int64_t most = [] {
    int device = 0, bytes = 0;
    const bool told = cudaGetDevice(&device) == cudaSuccess &&
                      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) == cudaSuccess;
    return told ? int64_t{bytes} : kSharedUnasked;
  }();
  return most;
}
#endif

#ifdef __CUDACC__
// What a kernel asks of the GPU once. That an SM's memory is divided as for all others, most of it shared: a kernel
// that divides it otherwise can begin only when the SM is empty. And, where it takes more than every block may have,
// the most that one may ask for: always the same, which launches that a graph recorded may not find lowered; such
// kernels have no other shared memory, which would count, too. A failure shows at the launch.
inline void prepare(const void* kernel, int64_t shared) {
  thread_local std::set<std::pair<const void*, bool>> prepared;
  const std::pair asked(kernel, shared > kSharedUnasked);
  if (prepared.contains(asked)) return;
  prepared.insert(asked);
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  if (shared > kSharedUnasked)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared()));
}
#endif

// Blocks with `shared` bytes of block_memory().
template <typename... Parameters, typename... Arguments>
void enqueue_shared(const Launch& launch, int64_t blocks, int threads, int64_t shared, void (*kernel)(Parameters...),
                    const Arguments&... arguments) {
  if (launch.part != 0 || blocks == 0) return;
  if (launch.enqueued) *launch.enqueued = true;
#ifdef __CUDACC__
  prepare(reinterpret_cast<const void*>(kernel), shared);
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(blocks);
  config.blockDim = static_cast<unsigned>(threads);
  config.dynamicSmemBytes = static_cast<size_t>(shared);
  config.stream = static_cast<cudaStream_t>(launch.stream);
  config.attrs = &early;
  config.numAttrs = launch.early ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, arguments...);
#else
  emulate_kernel(launch.stream, launch.early, blocks, threads, shared, [=] {
    kernel(arguments...);
    must_have_waited();
  });
#endif
}

template <typename... Parameters, typename... Arguments>
void enqueue(const Launch& launch, int64_t blocks, int threads, void (*kernel)(Parameters...),
             const Arguments&... arguments) {
  enqueue_shared(launch, blocks, threads, 0, kernel, arguments...);
}

#ifdef __CUDACC__
// A kernel that was enqueued may begin while those before it are still at work. Before it reads what they write, or
// writes anything, every thread waits here until they are done, all of them: for each has waited likewise.
__device__ inline void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// The next kernel may begin once all blocks have come here or ended: its blocks take what room these leave.
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// The bytes that enqueue_shared() asked for.
__device__ inline std::byte* block_memory() {
  extern __shared__ __align__(1024) std::byte memory[];  // 1024: what wgmma's rows begin at multiples of
  return memory;
}

// Where a byte of shared memory lies, as some instructions name it.
__device__ inline unsigned shared_address(const std::byte* at) {
  return static_cast<unsigned>(__cvta_generic_to_shared(at));
}
#endif

// How small kernels begin: the next one is started while this one still waits.
__device__ inline void wait_in_line() {
  let_next_begin();
  wait_for_earlier();
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
// All units of a contraction have `columns`, the last `last_columns`.
struct Units {
  Tree tree;
  int columns = 0, last_columns = 0, max_depth = 0;

  __device__ int begin(int unit) const { return unit * columns; }
  __device__ int end(int unit) const { return begin(unit) + (unit + 1 < tree.nodes ? columns : last_columns); }
};
inline constexpr int kTreeDepth = 40;  // 22 roots of a rank and 11 nodes on the way down to a leaf, at most, of 2^11

#ifdef __CUDACC__
// Between GPUs. What a thread (or what ran before its kernel) wrote before the one is seen by who reads it by the
// other.
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

void gated_mul(const Launch& launch, const GatedMul& a);

void fill_rows(Kernels& kernels);
void fill_norms(Kernels& kernels);
void fill_matmul(Kernels& kernels);
void fill_rope(Kernels& kernels);
void fill_attention(Kernels& kernels);
void fill_experts(Kernels& kernels);
void fill_sampling(Kernels& kernels);

}  // namespace trireme::cuda
