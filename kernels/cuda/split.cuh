#pragma once

// A sum that several blocks share, where there are few tiles: each has the units of one node of the tree; the last to
// come finds the others' sums and finishes the tree. Who that is cannot show: every sum is added in its place.
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

inline constexpr int kMostParts = 4;
static_assert(kWorkspaceCounts >= kSms / 2);

struct Split {
  int parts = 1;           // nodes of one depth, 1, 2 or 4
  float* sums = nullptr;   // [tiles, parts, values of a thread, threads]
  int* arrived = nullptr;  // [tiles] zeros before and after
};

// So many parts as leave no more than half of the SMs idle.
inline Split split_of(const Launch& launch, int64_t tiles, int64_t tile_bytes, const Units& units, int roots) {
  int parts = 1;
  while (parts < kMostParts && tiles * parts <= kSms / 2 && units.tree.nodes >= 4 * parts) parts *= 2;
  if (launch.workspace.empty() || roots != 1 || parts == 1) return {};
  must(kWorkspaceCountBytes + tiles * parts * tile_bytes <= std::ssize(launch.workspace),
       "the workspace holds the sums of split tiles");
  return {parts, reinterpret_cast<float*>(launch.workspace.data() + kWorkspaceCountBytes),
          reinterpret_cast<int*>(launch.workspace.data())};
}

// The units of a part.
struct UnitRun {
  int first, last;
};
__device__ inline UnitRun units_of_part(const Split& split, int units, int part) {
  UnitRun run{0, units};
  for (int half = split.parts / 2; half > 0; half /= 2) {
    const int middle = run.first + (run.last - run.first + 1) / 2;
    (part & half ? run.first : run.last) = middle;
  }
  return run;
}

// Whether this block is the last of `count` to come here, which sees what the others' threads wrote before. All threads
// call it. arrived: zero before and after.
__device__ inline bool comes_last(int* arrived, int count) {
  __threadfence();
  __syncthreads();
  const bool last = threadIdx.x == 0 && atomicAdd(arrived, 1) == count - 1;
  if (__syncthreads_count(last) == 0) return false;
  __threadfence();
  if (last) *arrived = 0;
  return true;
}

// Leaves a thread's `kValues` sums of its part; true where they are the whole tile's now, on the last block to come.
template <int kValues, typename Sum>
__device__ bool join_parts(const Split& split, int64_t tile, int part, const Sum& sum) {
  float* mine = split.sums + tile * split.parts * kValues * kThreads + threadIdx.x;
  UNROLL
  for (int j = 0; j < kValues; j++) mine[(part * kValues + j) * kThreads] = sum(j);
  if (!comes_last(split.arrived + tile, split.parts)) return false;
  UNROLL
  for (int j = 0; j < kValues; j++) {
    const auto of = [&](int p) { return __ldcg(mine + (p * kValues + j) * kThreads); };
    const float half = of(0) + of(1);
    sum(j) = split.parts == 2 ? half : half + (of(2) + of(3));
  }
  return true;
}

}  // namespace trireme::cuda
