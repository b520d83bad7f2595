#pragma once

// What all kernels of attention share: who sees what, and how the results of blocks of positions become one.
#include "kernels/cuda/tensor.cuh"

namespace trireme::cuda {

// The positions that a query sees.
struct Seen {
  int first, end;

  __device__ int blocks() const { return (end + kBlockTokens - 1) / kBlockTokens; }
  __device__ bool has(int block, int of_block) const {
    return block * kBlockTokens + of_block >= first && block * kBlockTokens + of_block < end;
  }
};

// Queries of a block of threads, in shared memory, by row.
struct Queries {
  const float* values;  // [count][stride]
  const Seen* seen;     // [count], and on to a whole tile the last one again
  int stride, head_dim, count = 0;
};

// Partitions, of kPartitionBlocks blocks each.
struct PartitionRun {
  int first = 0, end = 0;

  __device__ int size() const { return end - first; }
};
// Those of which queries from `first` to `last` see something.
__device__ inline PartitionRun partitions(Seen first, Seen last) {
  return {first.first / kBlockTokens / kPartitionBlocks, (last.blocks() + kPartitionBlocks - 1) / kPartitionBlocks};
}

// The whole block is seen by queries from `first` to `last`.
__device__ inline bool all_see(Seen first, Seen last, int block) {
  return last.first <= block * kBlockTokens && (block + 1) * kBlockTokens <= first.end;
}

// Heads that share a KV head, at most where they are spread evenly.
inline int64_t group_of(const Attention& a) {
  return max(int64_t{1}, blocks_of(std::ssize(a.kv_head_of), a.pages.kv_heads));
}
inline bool is_decode(const Attention& a) { return std::ssize(a.spans) == a.q.rows; }  // each row is a span

// The last span that does not begin behind the row: first of [begin, end) that does, less one. Of decode rows each has
// its own.
__device__ inline const AttentionSpan& span_of(const Attention& a, int64_t row) {
  size_t begin = 1, end = a.spans.size();
  if (end == static_cast<size_t>(a.q.rows)) return a.spans[static_cast<size_t>(row)];
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    if (a.spans[middle].first_row <= row)
      begin = middle + 1;
    else
      end = middle;
  }
  return a.spans[begin - 1];
}

// A span whose queries of a KV head, which has so many heads, one block of threads takes: a tile's, or a single row's,
// however many.
inline constexpr int kTileQueries = 16;
__device__ inline bool is_few(const AttentionSpan& span, int heads) {
  return span.rows == 1 || span.rows * heads <= kTileQueries;
}

// The heads of a KV head, which stand side by side.
struct HeadRun {
  int first = 0, count = 0;
};
__device__ inline HeadRun heads_of(const Attention& a, int kv_head) {
  int before = 0, count = 0;
  for (int h = lane(); h < static_cast<int>(a.kv_head_of.size()); h += kWarp) {
    before += a.kv_head_of[h] < kv_head;
    count += a.kv_head_of[h] == kv_head;
  }
  return {sum_of(before), sum_of(count)};
}

// The positions that the row sees, and all of its heads with it.
__device__ inline Seen seen_by(const Attention& a, const AttentionSpan& span, int64_t row) {
  const int end = span.first_position + static_cast<int>(row) - span.first_row + 1;
  return {a.window > 0 ? max(0, end - a.window) : 0, end};
}

// all = all, then results [begin, end), at most a warp's lanes, one after the other, by a warp: those of one query, of
// blocks or of partitions. of(i, j): result i's largest score, sum of weights, values. first: the first of them is all
// there is before. Lane i has result i's factors; the chains then take them in order.
template <typename Work, typename Of>
__device__ inline void join(float* all, const Of& of, int begin, int end, bool first, int head_dim) {
  const int began = begin;
  const auto before_all = [&](int j) { return first ? of(began, j) : all[j]; };
  if (first) begin++;
  float before = before_all(0), largest = before, sum = before_all(1), out[Work::kValues];
  for (int i = begin; i < end && i <= lane(); i++) {
    before = largest;
    const float here = of(i, 0);
    largest = here > before ? here : before;
  }
  const float old_factor = Work::exp(before - largest);
  const float new_factor = Work::exp((lane() < end ? of(max(began, lane()), 0) : largest) - largest);
  UNROLL
  for (int c = 0; c < Work::kValues; c++)
    if (const int d = c * kWarp + lane(); d < head_dim) out[c] = before_all(2 + d);
  for (int i = begin; i < end; i++) {
    const float old = __shfl_sync(kAllLanes, old_factor, i), fresh = __shfl_sync(kAllLanes, new_factor, i);
    sum = std::fma(sum, old, of(i, 1) * fresh);
    UNROLL
    for (int c = 0; c < Work::kValues; c++)
      if (const int d = c * kWarp + lane(); d < head_dim) out[c] = std::fma(out[c], old, of(i, 2 + d) * fresh);
  }
  __syncwarp();  // all lanes have read
  UNROLL
  for (int c = 0; c < Work::kValues; c++)
    if (const int d = c * kWarp + lane(); d < head_dim) all[2 + d] = out[c];
  if (lane() == kWarp - 1) all[0] = largest, all[1] = sum;
  __syncwarp();
}

}  // namespace trireme::cuda
