// Attention over the cache's pages. A block has some queries that share a KV head: of a sequence's next row all its
// heads, of a prompt some rows of them, so that K and V of 32 positions are read once for all. Its warps take the
// blocks of positions in turn and bring them to shared memory, K of the next while they sum V of this one; now and then
// the results are joined, one after the other. Where there are few queries several blocks share the partitions of what
// they see (attend_shares.cuh). Orders are the reference's (kernels/cpu/reference_attention.cpp). What a warp does with
// a block: in FP32 (attend_chains.cuh), or on tensor cores for a few queries; of those with many rows
// prompt_attention.cu has more.
#include "kernels/cuda/attend_chains.cuh"
#include "kernels/cuda/attend_queries.cuh"
#include "kernels/cuda/attend_shares.cuh"
#include "kernels/cuda/encode.cuh"
#include "kernels/cuda/prompt_attention.cuh"

namespace trireme::cuda {

namespace {

constexpr int kMostWarps = 8;      // of a block: a power of two, as all its numbers of warps
constexpr int kFetchedLine = 128;  // bytes that it fetches at once

// Of shared memory, in this order: the queries, joined results, those of all warps, their weights, a block's K and V
// for each, what the queries see, and what partitions before say. A result is the largest score, the sum of weights,
// and the values summed with them.
struct AttentionPlaces {
  bool by_span = false;  // a block of threads has a span, else rows of any
  int rows = 0;          // of a block, where not
  int slots = 0;         // queries of a block
  int parts = 1;         // blocks that share a KV head's queries of these rows
  int64_t cached = 0;    // bytes of K or V of a block of positions
  int tile = 0;          // of them in shared memory
  int tiles = 2;         // of a warp: K and V, or one that they take by turns, where there is no room for both
  int result = 0;        // floats of a query's result
  int64_t queries = 0;   // bytes of the queries, and of joined results
  int64_t weights = 0, warp_tiles = 0, seen = 0, before = 0, shared = 0;  // where they begin, and all of it
  int warps = 0;
  int turns = 1;  // blocks of positions that a warp takes before results are joined
  Shares shares;

  TRIREME_HD int round() const { return warps * turns; }
};

template <typename Work>
AttentionPlaces places_of(const Attention& a, int slots, int warps, int turns, int tiles) {
  AttentionPlaces places;
  const int64_t group = group_of(a);
  places.by_span = is_decode(a) || Work::kOneSpan;
  places.rows = static_cast<int>(max(int64_t{1}, slots / group));
  places.slots = slots;
  places.parts = places.by_span ? static_cast<int>(blocks_of(group, slots)) : 1;
  places.cached = a.pages.head_dim * kBlockTokens * dtype_bytes(a.pages.type);
  places.tile = Work::tile_bytes(a.pages.head_dim);
  places.result = static_cast<int>(blocks_of(a.pages.head_dim + 2, 4)) * 4;
  places.queries = int64_t{slots} * places.result * 4;
  places.tiles = tiles;
  places.warps = warps;
  places.turns = turns;
  static_assert(kPartitionBlocks % (2 * kMostWarps) == 0, "rounds end with partitions");
  places.weights = 2 * places.queries + places.turns * warps * places.queries;
  places.warp_tiles = places.weights + int64_t{warps} * Work::kWeightBytes;
  places.seen = places.warp_tiles + int64_t{warps} * tiles * places.tile;
  places.before = places.seen + Work::kQueries * int64_t{sizeof(Seen)};
  places.shared = places.before + int64_t{slots} * 2 * 4;
  return places;
}

template <typename Work>
struct Attend {
  const Attention& a;
  const AttentionPlaces& places;
  const AttentionSpan& span;
  int kv_head, warps;
  HeadRun heads;
  // Shared memory.
  float *q, *all, *results;  // results of all warps, [turn][warp][query]
  float* before;             // [query] largest score and sum of weights of the partitions before; values are in `out`
  Seen* seen;
  std::byte *k, *v;
  Queries queries;
  Work work;

  __device__ Attend(const Attention& attention, const AttentionPlaces& at, const AttentionSpan& of, int head,
                    HeadRun run)
      : a(attention),
        places(at),
        span(of),
        kv_head(head),
        warps(at.warps),
        heads(run),
        q(reinterpret_cast<float*>(block_memory())),
        all(q + at.queries / 4),
        results(all + at.queries / 4),
        before(reinterpret_cast<float*>(block_memory() + at.before)),
        seen(reinterpret_cast<Seen*>(block_memory() + at.seen)),
        k(block_memory() + at.warp_tiles + at.tiles * at.tile * warp()),
        v(k + (at.tiles - 1) * at.tile),
        queries{q, seen, at.result, attention.pages.head_dim},
        work(queries.head_dim, block_memory() + at.weights + Work::kWeightBytes * warp()) {}

  __device__ int64_t row_of(int first_row, int query) const { return first_row + query / heads.count; }
  __device__ int64_t cached_at(int block) const {
    return (span.block_table[block] * a.pages.block_heads + kv_head) * places.cached;
  }

  // Queries [begin, begin + count) of the span's rows from `row`, a row's heads side by side. share: which of the
  // blocks that share them this one is.
  __device__ void run(int row, int begin, int count, const Share& share) {
    const int head_dim = a.pages.head_dim, me = static_cast<int>(threadIdx.x), threads = warps * kWarp;
    __syncthreads();  // nobody uses the queries before these any more
    queries.count = count;
    for (int i = me; i < count * head_dim; i += threads) {
      const int query = begin + i / head_dim, head = heads.first + query % heads.count;
      q[i / head_dim * places.result + i % head_dim] = a.q.row(row_of(row, query))[head * head_dim + i % head_dim];
    }
    for (int n = me; n < Work::kQueries; n += threads)
      seen[n] = seen_by(a, span, row_of(row, begin + min(n, count - 1)));
    __syncthreads();
    const PartitionRun all_of_them = partitions(seen[0], seen[count - 1]), mine = share.of(all_of_them);
    if (mine.size() == 0) return;
    work.take(queries);
    const int first_block = max(seen[0].first / kBlockTokens, mine.first * kPartitionBlocks);
    const int last_block = min(seen[count - 1].blocks(), mine.end * kPartitionBlocks) - 1;
    const bool alone = mine.size() == all_of_them.size();
    const auto end_partition = [&](int n, int partition) {
      if (!alone) return leave(n, share.result(all_of_them, partition, n, places.result));
      const int query = begin + n, head = heads.first + query % heads.count;
      join_partition(n, partition, a.out.row(row_of(row, query)) + head * head_dim);
    };
    start(next_of(first_block), last_block);
    for (int round = first_block / places.round() * places.round(); round <= last_block; round += places.round()) {
      for (int i = warp(); i < places.round(); i += warps)
        if (first_block <= round + i && round + i <= last_block)
          attend_block(round + i, last_block, results + i * places.slots * places.result);
      __syncthreads();
      for (int n = warp(); n < count; n += warps) join_round(n, round, end_partition);
      __syncthreads();
    }
    if (!alone) {
      if (!share.comes_last(all_of_them)) return;
      join_left(all_of_them, share);
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

  // Joins the blocks of a round to those of their partition.
  template <typename End>
  __device__ void join_round(int n, int round, const End& end_partition) {
    const int partition = round / kPartitionBlocks, first = seen[n].first / kBlockTokens;
    const int begin = max(first, round), end = min(seen[n].blocks(), round + places.round());
    if (begin >= end) return;
    const float* blocks = results + n * places.result;
    join<Work>(
        all + n * places.result, [&](int i, int at) { return blocks[i * places.slots * places.result + at]; },
        begin - round, end - round, begin == max(first, partition * kPartitionBlocks), a.pages.head_dim);
    if (end == min(seen[n].blocks(), (partition + 1) * kPartitionBlocks)) end_partition(n, partition);
  }

  // Joins a partition to those before it, whose values stand in the output until the last one is there.
  __device__ void join_partition(int n, int partition, float* out) {
    const PartitionRun run = partitions(seen[n], seen[n]);
    const bool first = partition == run.first, last = partition == run.end - 1;
    if (first && last) return;
    float *now = all + n * places.result, *all_before = before + 2 * n;
    const float here = now[0], there = first ? here : all_before[0], largest = here > there ? here : there;
    const float old_factor = Work::exp(there - largest), new_factor = Work::exp(here - largest);
    const float sum = first ? now[1] : std::fma(all_before[1], old_factor, now[1] * new_factor);
    for (int d = lane(); d < a.pages.head_dim; d += kWarp) {
      const float value = first ? now[2 + d] : std::fma(out[d], old_factor, now[2 + d] * new_factor);
      (last ? now[2 + d] : out[d]) = value;
    }
    __syncwarp();  // all lanes have read
    if (float* to = last ? now : all_before; lane() == 0) to[0] = largest, to[1] = sum;
    __syncwarp();
  }

  // Leaves a partition's result for the last block to come, and there joins all of a query's.
  __device__ void leave(int n, float* to) const {
    for (int i = lane(); i < a.pages.head_dim + 2; i += kWarp) to[i] = all[n * places.result + i];
  }
  // All threads bring as many partitions at a time as a round has blocks to where blocks' results stand.
  __device__ void join_left(const PartitionRun& of_block, const Share& share) {
    for (int begin = of_block.first; begin < of_block.end; begin += places.round()) {
      const int end = min(of_block.end, begin + places.round()), floats = places.slots * places.result;
      const auto* left = reinterpret_cast<const float4*>(share.result(of_block, begin, 0, places.result));
      for (int i = static_cast<int>(threadIdx.x); i < (end - begin) * floats / 4; i += warps * kWarp)
        reinterpret_cast<float4*>(results)[i] = __ldcg(left + i);
      __syncthreads();
      for (int n = warp(); n < queries.count; n += warps) {
        const PartitionRun run = partitions(seen[n], seen[n]);
        const int first = max(run.first, begin), last = min(run.end, end);
        const float* of_query = results + n * places.result;
        if (first < last)
          join<Work>(
              all + n * places.result, [&](int i, int at) { return of_query[i * floats + at]; }, first - begin,
              last - begin, first == run.first, a.pages.head_dim);
      }
      __syncthreads();
    }
  }

  // The warp's first block from `first` on.
  __device__ int next_of(int first) const { return first + (warp() - first % warps + warps) % warps; }

  // Two groups of copies are open, K and V of the block to come; or one, of what comes next to their one place.
  __device__ bool by_turns() const { return places.tiles == 1; }
  __device__ void copy_k(int block, int last_block) {
    if (block <= last_block) work.copy_k(k, a.pages.k + cached_at(block));
    end_copies();
  }
  __device__ void copy_v(int block, int last_block) {
    if (block <= last_block) work.copy_v(v, a.pages.v + cached_at(block));
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

  __device__ void attend_block(int block, int last_block, float* result) {
    const int next = block + warps;
    wait_for_tile();
    work.score_keys(k, queries);
    __syncwarp();
    by_turns() ? copy_v(block, last_block) : copy_k(next, last_block);
    work.weigh(a, queries, block, result);
    wait_for_tile();
    work.sum(v, queries, block, result);
    __syncwarp();
    by_turns() ? copy_k(next, last_block) : copy_v(next, last_block);
  }
};

// Asks L2 for each warp's first tile of a row's share, whatever it holds by now: memory answers while the queries are
// still being made. No more: all blocks' have to stay in L2 together.
__device__ void ask_for_tiles(const Attention& a, const AttentionPlaces& places, int row, int kv_head,
                              const Share& share) {
  const AttentionSpan& span = a.spans[static_cast<size_t>(row)];
  const Seen seen = seen_by(a, span, span.first_row);
  const PartitionRun mine = share.of(partitions(seen, seen));
  const int block = max(seen.first / kBlockTokens, mine.first * kPartitionBlocks) + warp();
  if (block >= min(seen.blocks(), mine.end * kPartitionBlocks)) return;
  const int64_t tile = (span.block_table[block] * a.pages.block_heads + kv_head) * places.cached;
  for (int at = lane() * kFetchedLine; at < places.cached; at += kWarp * kFetchedLine)
    prefetch_line(a.pages.k + tile + at), prefetch_line(a.pages.v + tile + at);
}

template <typename Work>
__global__ void __launch_bounds__(kMostWarps* kWarp, 1) attention_kernel(Attention a, AttentionPlaces places) {
  const int query_set = static_cast<int>(blockIdx.x) / places.shares.blocks;
  const Share share(places.shares, query_set, static_cast<int>(blockIdx.x) % places.shares.blocks);
  const int part = query_set % places.parts, of_rows = query_set / places.parts;
  const int kv_head = of_rows % a.pages.kv_heads, item = of_rows / a.pages.kv_heads;
  const HeadRun heads = heads_of(a, kv_head);
  let_next_begin();
  if (places.shares.blocks > 1 && a.spans.size() == static_cast<size_t>(a.q.rows))
    ask_for_tiles(a, places, item, kv_head, share);
  wait_for_earlier();
  int first_row = item * places.rows, end_row = min(first_row + places.rows, static_cast<int>(a.q.rows));
  if (places.by_span) {
    const AttentionSpan& span = a.spans[static_cast<size_t>(item)];
    if (!is_few(span, heads.count)) return;  // prompt_attention()'s
    first_row = span.first_row, end_row = first_row + span.rows;
  }
  for (int row = first_row; row < end_row;) {
    const AttentionSpan& span = span_of(a, row);
    const int rows = min(end_row, span.first_row + span.rows) - row, queries = rows * heads.count;
    Attend<Work> attend(a, places, span, kv_head, heads);
    const Share all_of_it = share.where(queries <= places.parts * places.slots);
    for (int begin = part * places.slots; begin < queries; begin += places.parts * places.slots)
      attend.run(row, begin, min(places.slots, queries - begin), all_of_it);
    row += rows;
  }
}

template <typename Work>
void enqueue_attention(const Launch& launch, const Attention& a, int slots = Work::kQueries) {
  AttentionPlaces places = places_of<Work>(a, slots, kMostWarps, slots <= 4 ? 2 : 1, 2);
  const int64_t most = most_shared();
  if (places.shared > most) places = places_of<Work>(a, slots, kMostWarps, 1, 2);
  while (places.shared > most && places.warps > 1) places = places_of<Work>(a, slots, places.warps / 2, 1, 2);
  if (places.shared > most) places = places_of<Work>(a, slots, 1, 1, 1);  // FP32 heads of 512 values in 99 KiB
  must(places.shared <= most, "a block of positions fits shared memory");
  const int64_t items = places.by_span ? std::ssize(a.spans) : blocks_of(a.q.rows, places.rows);
  const int64_t query_sets = items * a.pages.kv_heads * places.parts;
  if (places.by_span) places.shares = shares_of(launch, query_sets, int64_t{slots} * places.result);
  enqueue_shared(launch, query_sets * places.shares.blocks, places.warps * kWarp, places.shared, attention_kernel<Work>,
                 a, places);
}

// As many queries as registers hold sums for; four where there are no more: heads of single rows.
template <DType kType>
void enqueue_chains(const Launch& launch, const Attention& a) {
  const int64_t values = blocks_of(a.pages.head_dim, kWarp);
  const bool few = is_decode(a) && std::ssize(a.kv_head_of) <= 4 * a.pages.kv_heads;
  must(values <= 16, "a head has at most 512 values");
  if (values <= 4)
    return few ? enqueue_attention<ChainWork<kType, 4, 4>>(launch, a)
               : enqueue_attention<ChainWork<kType, 16, 4>>(launch, a);
  if (values <= 8)
    return few ? enqueue_attention<ChainWork<kType, 4, 8>>(launch, a)
               : enqueue_attention<ChainWork<kType, 8, 8>>(launch, a);
  enqueue_attention<ChainWork<kType, 4, 16>>(launch, a);
}

template <int kGroups>
void enqueue_tensor(const Launch& launch, const Attention& a) {
  if (!is_decode(a)) {
    static_assert(TensorWork<2, kGroups>::kQueries == kTileQueries);
    enqueue_attention<TensorWork<2, kGroups>>(launch, a);
    return prompt_attention(launch, a);
  }
  const int slots = static_cast<int>(min(group_of(a), int64_t{kTileQueries}));
  if (slots <= TensorWork<1, kGroups>::kQueries) return enqueue_attention<TensorWork<1, kGroups>>(launch, a, slots);
  enqueue_attention<TensorWork<2, kGroups>>(launch, a, slots);
}

void attention(const Launch& launch, const Attention& a) {
  if (a.q.rows == 0) return;
  if (a.bf16_products) {
    must(takes_bf16_products(a.pages), "K and V are BF16, heads whole tiles of at most 256 values");
    return a.pages.head_dim <= 64    ? enqueue_tensor<1>(launch, a)
           : a.pages.head_dim <= 128 ? enqueue_tensor<2>(launch, a)
                                     : enqueue_tensor<4>(launch, a);
  }
  if (a.pages.type == DType::bf16) return enqueue_chains<DType::bf16>(launch, a);
  enqueue_chains<DType::f32>(launch, a);
}

}  // namespace

void fill_attention(Kernels& kernels) {
  kernels.attention = attention;
  kernels.bf16_attention = true;
}

}  // namespace trireme::cuda
