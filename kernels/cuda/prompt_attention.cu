// Attention of prompts on tensor cores: a block of threads has many rows of a span, a warp 16 of their queries and all
// blocks of positions that these see, which come to a ring in shared memory once for all warps. Results join where they
// are, in the warp's registers, one after the other, and partitions in the outputs: the bits are those of a row alone
// (attention.cu).
#include "kernels/cuda/attend_values.cuh"
#include "kernels/cuda/attend_weights.cuh"
#include "kernels/cuda/encode.cuh"
#include "kernels/cuda/prompt_attention.cuh"

namespace trireme::cuda {

namespace {

constexpr int kOutStride = kGroupValues + 8;  // floats of a query's group on its way out: quads write to other banks

// By groups of 64 values of a head. Wide heads: fewer warps, whose queries stand in shared memory, so that every GPU of
// sm_80 and later (99 KiB) has room.
template <int kGroups>
struct Prompt {
  static constexpr bool kWide = kGroups > 2;
  static constexpr int kWarps = kWide ? 4 : 8, kRing = kWide ? 2 : 4, kChunks = 4 * kGroups, kTiles = 8 * kGroups;
  static constexpr int kThreads = kWarps * kWarp, kQueries = kWarps * kTileQueries;
  static constexpr int kQueryBytes = kWide ? kChunks * kWarp * 16 : 0;  // a warp's, as operands of each lane
};

// Of a lane, its queries as operands; of wide heads none, whose operands stand in shared memory.
template <int kGroups>
using PromptQueries = unsigned[Prompt<kGroups>::kWide ? 1 : Prompt<kGroups>::kChunks][4];

struct PromptPlaces {
  int rows = 0;        // of a block
  int64_t cached = 0;  // bytes of K or V of a block of positions
  int tile = 0;        // of them in shared memory
  int64_t ring = 0;    // bytes, or what outputs take after it
  int64_t shared = 0;  // then queries of wide heads, what all queries see, and `before` of all warps
};

template <int kGroups>
PromptPlaces places_of(const Attention& a) {
  using P = Prompt<kGroups>;
  PromptPlaces places;
  places.rows = static_cast<int>(max(int64_t{1}, P::kQueries / group_of(a)));
  places.cached = a.pages.head_dim * kBlockTokens * int64_t{sizeof(BF16)};
  places.tile = tensor_tile_bytes(a.pages.head_dim);
  places.ring = max(int64_t{P::kRing} * 2 * places.tile, int64_t{P::kQueries} * kOutStride * 4);
  places.shared = places.ring + P::kWarps * P::kQueryBytes + P::kQueries * int64_t{sizeof(Seen) + sizeof(float2)};
  return places;
}

// What a lane has of its warp's queries, quad and quad + 8: the largest score of the partition so far, the sum of
// weights, and values.
template <int kGroups>
struct Results {
  float largest[2], sum[2];
  float out[8 * kGroups][4];  // as sum_pair() has them
};

template <int kGroups>
struct AttendPrompt {
  using P = Prompt<kGroups>;

  const Attention& a;
  const PromptPlaces& places;
  const AttentionSpan& span;
  int kv_head;
  HeadRun heads;
  TileCopy copy;
  std::byte* ring;
  uint4* wide_q;      // [chunk][lane] of this warp
  Seen *seen, *mine;  // of all queries; of this warp's
  float2* before;     // of this warp's: the partitions' before, largest score and sum of weights. Values are in `out`

  __device__ AttendPrompt(const Attention& attention, const PromptPlaces& at, const AttentionSpan& of, int head,
                          HeadRun run)
      : a(attention),
        places(at),
        span(of),
        kv_head(head),
        heads(run),
        copy(attention.pages.head_dim, static_cast<int>(threadIdx.x), P::kThreads),
        ring(block_memory()),
        wide_q(reinterpret_cast<uint4*>(ring + at.ring + P::kQueryBytes * warp())),
        seen(reinterpret_cast<Seen*>(ring + at.ring + P::kQueryBytes * P::kWarps)),
        mine(seen + warp() * kTileQueries),
        before(reinterpret_cast<float2*>(seen + P::kQueries) + warp() * kTileQueries) {}

  __device__ int64_t row_of(int row, int query) const { return row + query / heads.count; }

  // Queries [begin, begin + count) of the span's rows from `row`, a row's heads side by side.
  __device__ void run(int row, int begin, int count) {
    __syncthreads();  // nobody uses shared memory for the queries before these any more
    for (int n = static_cast<int>(threadIdx.x); n < P::kQueries; n += P::kThreads)
      seen[n] = seen_by(a, span, row_of(row, begin + min(n, count - 1)));
    __syncthreads();
    const int of_warp = count - warp() * kTileQueries;  // queries; none where it is not positive
    PromptQueries<kGroups> q;
    take(row, begin + warp() * kTileQueries, of_warp, q);
    const int first = seen[0].first / kBlockTokens, end = seen[count - 1].blocks();
    const int my_first = mine[0].first / kBlockTokens, my_end = of_warp > 0 ? mine[kTileQueries - 1].blocks() : 0;
    for (int i = 0; i < P::kRing - 1; i++) copy_block(first + i, end, i);
    Results<kGroups> results = {};
    for (int block = first, at = 0; block < end; block++) {
      wait_for_copies<P::kRing - 2>();
      __syncthreads();  // all copies of this block are here, and nobody reads the one before any more
      copy_block(block + P::kRing - 1, end, at == 0 ? P::kRing - 1 : at - 1);
      if (my_first <= block && block < my_end) attend_block(ring + at * 2 * places.tile, block, q, results);
      if (block % kPartitionBlocks == kPartitionBlocks - 1)
        join_partition<false>(row, begin + warp() * kTileQueries, of_warp, block, results);
      at = at + 1 < P::kRing ? at + 1 : 0;
    }
    __syncthreads();  // the ring is free for outputs
    join_partition<true>(row, begin + warp() * kTileQueries, of_warp, end - 1, results);
    write(row, begin + warp() * kTileQueries, of_warp, results);
  }

 private:
  __device__ void take(int row, int begin, int count, PromptQueries<kGroups>& q) {
    const auto of = [&](int n) {
      const int query = begin + n, head = heads.first + query % heads.count;
      return n < count ? &a.q.row(row_of(row, query))[head * a.pages.head_dim] : nullptr;
    };
    const float *first = of(lane() / 4), *second = of(lane() / 4 + 8);
    UNROLL
    for (int c = 0; c < P::kChunks; c++) {
      if (c * 16 >= a.pages.head_dim) break;
      if constexpr (P::kWide) {
        unsigned x[4];
        take_queries(first, second, c * 16, x);
        wide_q[c * kWarp + lane()] = {x[0], x[1], x[2], x[3]};
      } else {
        take_queries(first, second, c * 16, q[c]);
      }
    }
  }

  __device__ void copy_block(int block, int end, int at) const {
    if (block < end) {
      const int64_t cached = (span.block_table[block] * a.pages.block_heads + kv_head) * places.cached;
      std::byte* k = ring + at * 2 * places.tile;
      copy.copy_k(k, a.pages.k + cached);
      copy.copy_v(k + places.tile, a.pages.v + cached);
    }
    end_copies();
  }

  __device__ void attend_block(const std::byte* k, int block, const PromptQueries<kGroups>& q,
                               Results<kGroups>& results) {
    const std::byte* v = k + places.tile;
    const Seen own[2] = {mine[lane() / 4], mine[lane() / 4 + 8]}, first = mine[0], last = mine[kTileQueries - 1];
    const bool whole = all_see(first, last, block);
    float scores[kPositionTiles][4] = {};
    score_tile<P::kChunks>(
        k, a.pages.head_dim,
        [&](int c, unsigned(&x)[4]) {
          if constexpr (P::kWide) {
            const uint4 words = wide_q[c * kWarp + lane()];
            x[0] = words.x, x[1] = words.y, x[2] = words.z, x[3] = words.w;
          } else {
            UNROLL
            for (int i = 0; i < 4; i++) x[i] = q[c][i];
          }
        },
        scores);
    const BlockWeights<2> weights(a, block, own, whole, scores);
    // Who begins with this block, and who has it at all.
    bool begins[2], has[2];
    float old_factor[2], new_factor[2];
    UNROLL
    for (int h = 0; h < 2; h++) {
      begins[h] = own[h].first / kBlockTokens == block || block % kPartitionBlocks == 0;
      has[h] = own[h].first / kBlockTokens <= block && block < own[h].blocks();
      const float before = results.largest[h], here = weights.largest[h], largest = here > before ? here : before;
      old_factor[h] = exp_weight(before - largest), new_factor[h] = exp_weight(here - largest);
      const float sum = std::fma(results.sum[h], old_factor[h], weights.sum[h] * new_factor[h]);
      if (has[h]) {
        results.largest[h] = begins[h] ? here : largest;
        results.sum[h] = begins[h] ? weights.sum[h] : sum;
      }
    }
    if (whole && block % kPartitionBlocks == 0) {  // all begin
      sum_all_values<P::kTiles>(v, weights.pairs, a.pages.head_dim, [&](int tile, const float(&now)[2][4]) {
        UNROLL
        for (int j = 0; j < 8; j++) results.out[tile + j / 4][j % 4] = now[j / 4][j % 4];
      });
      return;
    }
    if (whole && last.first < block * kBlockTokens) {  // all have it and those before
      sum_all_values<P::kTiles>(v, weights.pairs, a.pages.head_dim, [&](int tile, const float(&now)[2][4]) {
        UNROLL
        for (int j = 0; j < 8; j++) {
          float& out = results.out[tile + j / 4][j % 4];
          out = std::fma(out, old_factor[j % 4 / 2], now[j / 4][j % 4] * new_factor[j % 4 / 2]);
        }
      });
      return;
    }
    sum_seen_values<2, P::kTiles>(
        v, weights.pairs, a.pages.head_dim, mine, block, [&](int tile, const float(&now)[2][4]) {
          UNROLL
          for (int j = 0; j < 8; j++) {
            const int h = j % 4 / 2;
            float& out = results.out[tile + j / 4][j % 4];
            const float joined = std::fma(out, old_factor[h], now[j / 4][j % 4] * new_factor[h]);
            if (has[h]) out = begins[h] ? now[j / 4][j % 4] : joined;
          }
        });
  }

  // Joins what the partition of `block` says to those before it, for queries that see more than that: in the outputs,
  // which nobody reads meanwhile. kLast: of each query its last partition, wherever that is, whose results stay with
  // the lane.
  template <bool kLast>
  __device__ void join_partition(int row, int begin, int count, int block, Results<kGroups>& results) {
    const float2 all[2] = {before[lane() / 4], before[lane() / 4 + 8]};
    __syncwarp();  // all lanes have read
    UNROLL
    for (int h = 0; h < 2; h++) {
      const int n = lane() / 4 + 8 * h, query = begin + n;
      if (n >= count) continue;
      const Seen own = mine[n];
      const PartitionRun run = partitions(own, own);
      const int now = kLast ? run.end - 1 : block / kPartitionBlocks;
      const bool is_first = now == run.first;
      if (kLast ? is_first : now < run.first || now >= run.end - 1) continue;
      const float here = results.largest[h], there = is_first ? here : all[h].x;
      const float largest = here > there ? here : there;
      const float old_factor = exp_weight(there - largest), new_factor = exp_weight(here - largest);
      const float sum = is_first ? results.sum[h] : std::fma(all[h].y, old_factor, results.sum[h] * new_factor);
      float* out = a.out.row(row_of(row, query)) + (heads.first + query % heads.count) * a.pages.head_dim;
      UNROLL
      for (int tile = 0; tile < P::kTiles; tile++) {
        if (tile * 8 >= a.pages.head_dim) break;
        float* values = &results.out[tile][2 * h];
        float2& pair = *reinterpret_cast<float2*>(out + tile * 8 + lane() % 4 * 2);
        float2 joined{values[0], values[1]};
        if (!is_first) {
          const float2 old = pair;
          joined = {std::fma(old.x, old_factor, values[0] * new_factor),
                    std::fma(old.y, old_factor, values[1] * new_factor)};
        }
        if constexpr (kLast)
          values[0] = joined.x, values[1] = joined.y;
        else
          pair = joined;
      }
      if constexpr (kLast)
        results.sum[h] = sum;
      else if (lane() % 4 == 0)
        before[n] = {largest, sum};
    }
    __syncwarp();
  }

  // Outputs go through shared memory, a group of values at a time, so that a warp has 32 columns of a row side by side.
  __device__ void write(int row, int begin, int count, const Results<kGroups>& results) {
    float* mine_out = reinterpret_cast<float*>(ring) + warp() * kTileQueries * kOutStride;
    UNROLL
    for (int group = 0; group < kGroups; group++) {
      const int first = group * kGroupValues, values = min(kGroupValues, a.pages.head_dim - first);
      if (values <= 0) break;
      UNROLL
      for (int j = 0; j < 16; j++) {  // of eight tiles; those behind the head's end hold zeros
        const float(&out)[4] = results.out[group * 8 + j / 2];
        const float sum = results.sum[j % 2];
        *reinterpret_cast<float2*>(mine_out + (lane() / 4 + j % 2 * 8) * kOutStride + j / 2 * 8 + lane() % 4 * 2) = {
            out[j % 2 * 2] / sum, out[j % 2 * 2 + 1] / sum};
      }
      __syncwarp();
      for (int n = 0; n < min(count, kTileQueries); n++) {
        const int query = begin + n, column = (heads.first + query % heads.count) * a.pages.head_dim + first;
        const int64_t to = row_of(row, query);
        for (int d = lane(); d < values; d += kWarp) {
          const float out = mine_out[n * kOutStride + d];
          a.out.row(to)[column + d] = out;
          if (a.encoded.data) encode_column(a.encoded, to, column + d, out);
        }
      }
      __syncwarp();  // nobody reads these any more
    }
  }
};

template <int kGroups>
__global__ void __launch_bounds__(Prompt<kGroups>::kThreads, 1) prompt_kernel(Attention a, PromptPlaces places) {
  const int kv_heads = a.pages.kv_heads, kv_head = static_cast<int>(blockIdx.x) % kv_heads;
  // Late rows first: they see the most.
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) / kv_heads * places.rows;
  const int end_row = min(first_row + places.rows, static_cast<int>(a.q.rows));
  const HeadRun heads = heads_of(a, kv_head);
  let_next_begin();
  wait_for_earlier();
  for (int row = first_row; row < end_row;) {
    const AttentionSpan& span = span_of(a, row);
    const int rows = min(end_row, span.first_row + span.rows) - row, queries = rows * heads.count;
    if (!is_few(span, heads.count)) {
      AttendPrompt<kGroups> attend(a, places, span, kv_head, heads);
      for (int begin = 0; begin < queries; begin += Prompt<kGroups>::kQueries)
        attend.run(row, begin, min(Prompt<kGroups>::kQueries, queries - begin));
    }
    row += rows;
  }
}

template <int kGroups>
void enqueue_prompt(const Launch& launch, const Attention& a) {
  const PromptPlaces places = places_of<kGroups>(a);
  must(places.shared <= most_shared(), "a ring of blocks fits shared memory");
  must(a.out.stride % 2 == 0, "pairs of outputs are aligned");
  enqueue_shared(launch, blocks_of(a.q.rows, places.rows) * a.pages.kv_heads, Prompt<kGroups>::kThreads, places.shared,
                 prompt_kernel<kGroups>, a, places);
}

}  // namespace

void prompt_attention(const Launch& launch, const Attention& a) {
  if (a.pages.head_dim <= kGroupValues) return enqueue_prompt<1>(launch, a);
  if (a.pages.head_dim <= 2 * kGroupValues) return enqueue_prompt<2>(launch, a);
  enqueue_prompt<4>(launch, a);
}

}  // namespace trireme::cuda
