// Attention over the cache's pages. A block has some queries that share a KV head: of a sequence's next row all its
// heads, of a prompt some rows of them, so that K and V of 32 positions are read once for all. Its warps take the
// blocks of positions in turn and bring them to shared memory, K of the next while they sum V of this one; now and then
// the results are joined, one after the other. Orders are the reference's (kernels/cpu/reference_attention.cpp): no
// tensor cores.
#include "kernels/cuda/attend_block.cuh"
#include "kernels/cuda/encode.cuh"

namespace trireme::cuda {

namespace {

// Warps of a block: a query that has one for itself leaves registers for more.
constexpr int most_warps(int queries) { return queries == 1 ? 16 : 8; }
constexpr int kAskedTiles = 4;     // of a warp, that L2 is asked for early
constexpr int kFetchedLine = 128;  // bytes that it fetches at once

// Of shared memory, in this order: the queries, what they see, joined results, and for each warp a block's K and V,
// weights and results. A result is the largest score, the sum of weights, and the values summed with them.
struct AttentionPlaces {
  int rows = 0;             // of a block
  int parts = 1;            // blocks that share a KV head's queries of these rows
  int tile = 0;             // bytes of K or V of a block of positions
  int tiles = 2;            // of a warp: K and V, or one that they take by turns, where there is no room for both
  int result = 0;           // floats of a query's result
  int64_t queries, shared;  // bytes of the queries and of all
  int warps = 0;
  int turns = 1;  // blocks of positions that a warp takes before results are joined
};

AttentionPlaces places_of(const Attention& a, int queries, int warps, int tiles) {
  AttentionPlaces places;
  const int64_t heads = static_cast<int64_t>(a.kv_head_of.size());
  const bool decode = a.spans.size() == static_cast<size_t>(a.q.rows);  // a row a span
  const int64_t group = max(int64_t{1}, blocks_of(heads, a.pages.kv_heads));
  places.rows = decode ? 1 : static_cast<int>(max(int64_t{1}, queries / group));
  places.parts = decode ? static_cast<int>(blocks_of(group, queries)) : 1;
  places.tile = a.pages.head_dim * kBlockTokens * dtype_bytes(a.pages.type);
  places.result = static_cast<int>(blocks_of(a.pages.head_dim + 2, 4)) * 4;
  places.queries = int64_t{queries} * places.result * 4;
  places.tiles = tiles;
  places.warps = warps;
  if (warps > 1) places.turns = queries == 1 ? kWarp / warps : queries <= 4 ? 2 : 1;  // a lane a result
  const int64_t of_warp = tiles * places.tile + queries * kBlockTokens * 4 + places.turns * places.queries;
  places.shared = 2 * places.queries + queries * 8 + warps * of_warp;
  return places;
}

// The last span that does not begin behind the row: first of [begin, end) that does, less one. Of decode rows each has
// its own.
__device__ const AttentionSpan& span_of(const Attention& a, int64_t row) {
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

// The heads of a KV head, which stand side by side.
struct HeadRun {
  int first = 0, count = 0;
};
__device__ HeadRun heads_of(const Attention& a, int kv_head) {
  int before = 0, count = 0;
  for (int h = lane(); h < static_cast<int>(a.kv_head_of.size()); h += kWarp) {
    before += a.kv_head_of[h] < kv_head;
    count += a.kv_head_of[h] == kv_head;
  }
  return {sum_of(before), sum_of(count)};
}

template <DType kType, int kQueries, int kValues>
struct Attend {
  const Attention& a;
  const AttentionPlaces& places;
  const AttentionSpan& span;
  int kv_head, warps;
  HeadRun heads;
  // Shared memory.
  float *q, *all;
  Seen* seen;
  std::byte *k, *v;
  float *weights, *results;  // of this warp; of all warps, [turn][warp][query]

  __device__ Attend(const Attention& attention, const AttentionPlaces& at, const AttentionSpan& of, int head,
                    HeadRun run)
      : a(attention), places(at), span(of), kv_head(head), warps(at.warps), heads(run) {
    std::byte* next = block_memory();
    auto take = [&](int64_t bytes) {
      std::byte* place = next;
      next += bytes;
      return place;
    };
    q = reinterpret_cast<float*>(take(at.queries));
    all = reinterpret_cast<float*>(take(at.queries));
    results = reinterpret_cast<float*>(take(at.queries * warps * at.turns));
    weights =
        reinterpret_cast<float*>(take(int64_t{kQueries} * kBlockTokens * 4 * warps)) + warp() * kQueries * kBlockTokens;
    k = take(int64_t{at.tiles} * at.tile * warps) + at.tiles * at.tile * warp();
    v = k + (at.tiles - 1) * at.tile;
    seen = reinterpret_cast<Seen*>(take(0));
  }

  __device__ int64_t row_of(int first_row, int query) const { return first_row + query / heads.count; }
  __device__ int64_t tile_of(int block) const {
    return (span.block_table[block] * a.pages.block_heads + kv_head) * places.tile;
  }

  // Queries [begin, begin + count) of the span's rows from `row`, a row's heads side by side.
  __device__ void run(int row, int begin, int count) {
    const int head_dim = a.pages.head_dim, me = static_cast<int>(threadIdx.x), threads = warps * kWarp;
    __syncthreads();  // nobody uses the queries before these any more
    for (int i = me; i < count * head_dim; i += threads) {
      const int query = begin + i / head_dim, head = heads.first + query % heads.count;
      q[i / head_dim * places.result + i % head_dim] = a.q.row(row_of(row, query))[head * head_dim + i % head_dim];
    }
    for (int n = me; n < kQueries; n += threads) {
      const int end =
          span.first_position + static_cast<int>(row_of(row, begin + min(n, count - 1))) - span.first_row + 1;
      seen[n] = {a.window > 0 ? max(0, end - a.window) : 0, end};
    }
    __syncthreads();
    const int first_block = seen[0].first / kBlockTokens, last_block = seen[count - 1].blocks() - 1;
    start(first_block + warp(), last_block);
    for (int round = first_block; round <= last_block; round += warps * places.turns) {
      for (int i = warp(); i < warps * places.turns && round + i <= last_block; i += warps)
        attend_block(round + i, last_block, count, results + i * kQueries * places.result);
      __syncthreads();
      for (int n = warp(); n < count; n += warps) {
        const int before = seen[n].first / kBlockTokens - round;
        const int end = min(warps * places.turns, seen[n].blocks() - round);
        if (before < end)
          join<kValues>(all + n * places.result, results + n * places.result, kQueries * places.result, max(0, before),
                        end, before >= 0, head_dim);
      }
      __syncthreads();
    }
    for (int n = warp(); n < count; n += warps) {
      const int query = begin + n, head = heads.first + query % heads.count;
      const float* result = all + n * places.result;
      float* out = a.out.row(row_of(row, query)) + head * head_dim;
      for (int d = lane(); d < head_dim; d += kWarp) {
        out[d] = result[2 + d] / result[1];
        if (a.encoded.data) encode_column(a.encoded, row_of(row, query), head * head_dim + d, out[d]);
      }
    }
  }

  // Two groups of copies are open, K and V of the block to come; or one, of what comes next to their one place.
  __device__ bool by_turns() const { return places.tiles == 1; }
  __device__ void copy_k(int block, int last_block) {
    if (block <= last_block) copy_tile(k, a.pages.k + tile_of(block), places.tile);
    end_copies();
  }
  __device__ void copy_v(int block, int last_block) {
    if (block <= last_block) copy_tile(v, a.pages.v + tile_of(block), places.tile);
    end_copies();
  }
  __device__ void start(int block, int last_block) {
    copy_k(block, last_block);
    if (!by_turns()) copy_v(block, last_block);
  }
  __device__ void wait_for_tile() {
    if (by_turns())
      wait_for_copies<0>();
    else
      wait_for_copies<1>();
    __syncwarp();
  }

  __device__ void attend_block(int block, int last_block, int count, float* result) {
    const int next = block + warps, head_dim = a.pages.head_dim;
    float dot[kQueries] = {}, out[kQueries][kValues] = {};
    wait_for_tile();
    score<kType, kQueries>(k, q, places.result, head_dim, dot);
    __syncwarp();
    by_turns() ? copy_v(block, last_block) : copy_k(next, last_block);
    UNROLL
    for (int n = 0; n < kQueries; n++) {
      if (n >= count) continue;
      const bool sees = seen[n].has(block, lane());
      float p = dot[n] * a.scale;
      if (a.softcap > 0) p = soft_cap(p, a.softcap);
      const float largest = largest_of(sees && p > -INFINITY ? p : -INFINITY);  // a NaN is nobody's largest
      p = sees ? exp_float(p - largest) : 0.0f;
      weights[n * kBlockTokens + lane()] = p;
      const float sum = sum_lanes(p, kBlockTokens);
      if (lane() == 0) result[n * places.result] = largest, result[n * places.result + 1] = sum;
    }
    wait_for_tile();
    const bool full = seen[count - 1].first <= block * kBlockTokens && (block + 1) * kBlockTokens <= seen[0].end;
    if (full)
      sum_values<kType, kQueries, kValues>(v, weights, head_dim, out);
    else
      sum_seen_values<kType, kQueries, kValues>(v, weights, head_dim, seen, block, out);
    __syncwarp();
    by_turns() ? copy_k(next, last_block) : copy_v(next, last_block);
    UNROLL
    for (int n = 0; n < kQueries; n++) UNROLL
    for (int c = 0; c < kValues; c++)
      if (const int d = c * kWarp + lane(); n < count && d < head_dim) result[n * places.result + 2 + d] = out[n][c];
  }
};

// Asks L2 for a row's first tiles, whatever they hold by now: memory answers while the queries are still being made.
__device__ void ask_for_tiles(const Attention& a, const AttentionPlaces& places, int row, int kv_head) {
  const AttentionSpan& span = a.spans[static_cast<size_t>(row)];
  const int end = span.first_position + 1, first = a.window > 0 ? max(0, end - a.window) : 0;
  for (int i = 0; i < kAskedTiles; i++) {
    const int block = first / kBlockTokens + i * places.warps + warp();
    if (block * kBlockTokens >= end) return;
    const int64_t tile = (span.block_table[block] * a.pages.block_heads + kv_head) * places.tile;
    for (int at = lane() * kFetchedLine; at < places.tile; at += kWarp * kFetchedLine)
      prefetch_line(a.pages.k + tile + at), prefetch_line(a.pages.v + tile + at);
  }
}

template <DType kType, int kQueries, int kValues>
__global__ void __launch_bounds__(most_warps(kQueries) * kWarp, 1)
    attention_kernel(Attention a, AttentionPlaces places) {
  const int part = static_cast<int>(blockIdx.x) % places.parts, of_rows = static_cast<int>(blockIdx.x) / places.parts;
  const int kv_head = of_rows % a.pages.kv_heads, first_row = of_rows / a.pages.kv_heads * places.rows;
  const int end_row = min(first_row + places.rows, static_cast<int>(a.q.rows));
  const HeadRun heads = heads_of(a, kv_head);
  let_next_begin();
  if constexpr (kQueries == 1) ask_for_tiles(a, places, first_row, kv_head);  // single rows
  wait_for_earlier();
  for (int row = first_row; row < end_row;) {
    const AttentionSpan& span = span_of(a, row);
    const int rows = min(end_row, span.first_row + span.rows) - row, queries = rows * heads.count;
    Attend<kType, kQueries, kValues> attend(a, places, span, kv_head, heads);
    for (int begin = part * kQueries; begin < queries; begin += places.parts * kQueries)
      attend.run(row, begin, min(kQueries, queries - begin));
    row += rows;
  }
}

template <DType kType, int kQueries, int kValues>
void enqueue_attention(const Launch& launch, const Attention& a) {
  AttentionPlaces places = places_of(a, kQueries, most_warps(kQueries), 2);
  const int64_t most = most_shared();
  while (places.shared > most && places.warps > 1)
    places = places_of(a, kQueries, places.warps > 4 ? places.warps - 4 : places.warps / 2, 2);
  if (places.shared > most) places = places_of(a, kQueries, 1, 1);  // FP32 heads of 512 values in 99 KiB
  must(places.shared <= most, "a block of positions fits shared memory");
  enqueue_shared(launch, blocks_of(a.q.rows, places.rows) * a.pages.kv_heads * places.parts, places.warps * kWarp,
                 places.shared, attention_kernel<kType, kQueries, kValues>, a, places);
}

constexpr int64_t kFewBlocks = 64;  // that leave more than half of 132 SMs idle

// As many queries as registers hold sums for; four where there are no more: heads of single rows. With few sequences
// each head has a block, so that more SMs have work, and L2 gives them the same K and V.
template <DType kType>
void enqueue_type(const Launch& launch, const Attention& a) {
  const int64_t values = blocks_of(a.pages.head_dim, kWarp), kv_heads = a.pages.kv_heads;
  const bool decode = a.spans.size() == static_cast<size_t>(a.q.rows);
  const bool alone = decode && a.q.rows * kv_heads < kFewBlocks;
  const bool few = decode && static_cast<int64_t>(a.kv_head_of.size()) <= 4 * kv_heads;
  must(values <= 16, "a head has at most 512 values");
  if (values <= 4 && alone) return enqueue_attention<kType, 1, 4>(launch, a);
  if (values <= 4) return few ? enqueue_attention<kType, 4, 4>(launch, a) : enqueue_attention<kType, 16, 4>(launch, a);
  if (values <= 8) return few ? enqueue_attention<kType, 4, 8>(launch, a) : enqueue_attention<kType, 8, 8>(launch, a);
  enqueue_attention<kType, 4, 16>(launch, a);
}

void attention(const Launch& launch, const Attention& a) {
  if (a.q.rows == 0) return;
  if (a.pages.type == DType::bf16) return enqueue_type<DType::bf16>(launch, a);
  enqueue_type<DType::f32>(launch, a);
}

}  // namespace

void fill_attention(Kernels& kernels) { kernels.attention = attention; }

}  // namespace trireme::cuda
