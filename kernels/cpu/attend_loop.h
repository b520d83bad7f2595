// Attention of a tile of queries over the blocks they see, written once over 16 lanes (see row_loops.h, included
// before). Scores and weights of all queries, then values. Where many queries share a block, its K and V are brought to
// FP32 once.

namespace trireme {

namespace {

constexpr int kBlock = kAttendBlock;

constexpr float kNothing = -3.40282347e38f;  // the largest score of no block: finite, so that no-ops make no NaN

struct AttendState {
  alignas(64) float k[kAttendHeadDim * kBlock];                    // [head_dim][32] of the block, when copied
  alignas(64) float v[kBlock * kAttendHeadDim];                    // [32][width], likewise
  alignas(64) float out[kAttendQueries * kAttendHeadDim];          // [queries][width]
  alignas(64) float p[kAttendQueries * kBlock];                    // weights of the block's positions
  alignas(64) float largest[kAttendQueries], sum[kAttendQueries];  // over the partition's blocks so far
  // Over the partitions before.
  alignas(64) float all_out[kAttendQueries * kAttendHeadDim];
  alignas(64) float all_largest[kAttendQueries], all_sum[kAttendQueries];
  alignas(64) float block_largest[kAttendQueries], block_sum[kAttendQueries];
  alignas(64) float old_factor[kAttendQueries], new_factor[kAttendQueries];
  const float* q[kAttendQueries];
  int begin[kAttendQueries], end[kAttendQueries];  // positions of the block that a query sees
  bool joins[kAttendQueries];                      // the query has seen blocks of the partition before
  bool all_joins[kAttendQueries];                  // and of partitions before
  int queries, width;                              // width: head_dim in whole vectors
};

// A block as scores and values read it: in place, or the copy in FP32.
struct Block {
  const std::byte *k = nullptr, *v = nullptr;  // [head_dim][32], [32][width]
};

// Of the block to come, what corresponds to what is read of this one, K with K and V with V: so memory works all the
// time. Asked for all at once it would take every buffer that a core has for lines on their way, and what this block
// reads would wait. To the second-level cache, which has more such buffers: 1.1 to 2 times as fast as to the first
// (Zen 4, `trireme bench kernels --threads 1`). at: null where no block comes; first: of kValues values.
template <bool kBf16, int kValues>
INLINE void prefetch(const std::byte* at, int64_t first) {
  constexpr int64_t kSize = kBf16 ? 2 : 4;
  if (!at) return;
  UNROLL
  for (int64_t i = 0; i < kValues * kSize; i += 64) _mm_prefetch(at + first * kSize + i, _MM_HINT_T1);
}

template <bool kBf16>
INLINE F load_value(const std::byte* p, int64_t i) {
  if constexpr (kBf16) return from_bits(shift_left<16>(load_halves(reinterpret_cast<const uint16_t*>(p) + i)));
  return load(reinterpret_cast<const float*>(p) + i);
}
template <bool kBf16>
INLINE F load_value(const std::byte* p, int64_t i, int64_t count) {
  if (count >= 16) return load_value<kBf16>(p, i);
  if constexpr (!kBf16) return load(reinterpret_cast<const float*>(p) + i, count);
  uint16_t rest[16] = {};
  for (int64_t lane = 0; lane < count; lane++) rest[lane] = (reinterpret_cast<const uint16_t*>(p) + i)[lane];
  return from_bits(shift_left<16>(load_halves(rest)));
}

template <bool kBf16>
Block copy_block(const AttendTile& a, Block block, Block next, AttendState& s) {
  for (int64_t i = 0; i < a.head_dim * kBlock; i += kBlock) {
    prefetch<kBf16, kBlock>(next.k, i);
    for (int64_t half = i; half < i + kBlock; half += 16) store(s.k + half, load_value<kBf16>(block.k, half));
  }
  for (int j = 0; j < kBlock; j++)
    for (int d = 0; d < a.head_dim; d += 16) {
      if (d % kBlock == 0) prefetch<kBf16, kBlock>(next.v, j * a.head_dim + d);
      store(s.v + j * s.width + d, load_value<kBf16>(block.v, j * a.head_dim + d, a.head_dim - d));
    }
  return {reinterpret_cast<const std::byte*>(s.k), reinterpret_cast<const std::byte*>(s.v)};
}

// Rare and long, so that it stands apart from the loop.
__attribute__((noinline)) void cap_scores(float softcap, float* scores, int count) {
  for (int i = 0; i < count; i += 16) store(scores + i, soft_cap_lanes(load(scores + i), set(softcap)));
}

// Scores of N queries against all lanes of the block; lanes that a query does not see then count as -infinity.
template <bool kBf16, int N>
INLINE void score(const AttendTile& a, const Block& block, const std::byte* next_k, AttendState& s, int first) {
  F dot[N][2];
  UNROLL
  for (int n = 0; n < N; n++) dot[n][0] = dot[n][1] = set(0.0f);
  for (int d = 0; d < a.head_dim; d++) {
    prefetch<kBf16, kBlock>(next_k, d * kBlock);
    F k0 = load_value<kBf16>(block.k, d * kBlock), k1 = load_value<kBf16>(block.k, d * kBlock + 16);
    UNROLL
    for (int n = 0; n < N; n++) {
      F q = set(s.q[first + n][d]);
      dot[n][0] = fma(q, k0, dot[n][0]);
      dot[n][1] = fma(q, k1, dot[n][1]);
    }
  }
  UNROLL
  for (int n = 0; n < N; n++) {
    dot[n][0] = dot[n][0] * set(a.scale);
    dot[n][1] = dot[n][1] * set(a.scale);
  }
  if (__builtin_expect(a.softcap > 0, 0)) {
    float* scores = s.p + first * kBlock;
    UNROLL
    for (int n = 0; n < N; n++) store(scores + n * kBlock, dot[n][0]), store(scores + n * kBlock + 16, dot[n][1]);
    cap_scores(a.softcap, scores, N * kBlock);
    UNROLL
    for (int n = 0; n < N; n++) dot[n][0] = load(scores + n * kBlock), dot[n][1] = load(scores + n * kBlock + 16);
  }
  const F none = set(-__builtin_inff());
  UNROLL
  for (int n = 0; n < N; n++) {
    int query = first + n, begin = s.begin[query], end = s.end[query];
    F s0 = select(lanes_between(begin, end), dot[n][0], none);
    F s1 = select(lanes_between(begin - 16, end - 16), dot[n][1], none);
    float largest = largest_of(max(max(s0, none), max(s1, none)));  // a NaN is passed over here and met below
    F p0 = exp_lanes(s0 - set(largest)), p1 = exp_lanes(s1 - set(largest));
    store(s.p + query * kBlock, p0);
    store(s.p + query * kBlock + 16, p1);
    s.block_largest[query] = largest;
    s.block_sum[query] = sum_of(p0 + p1);
  }
}

// Joins the block's largest and sum with those of the blocks before, and says by what the outputs are multiplied. What
// attend() starts from, kNothing and 0, adds nothing to a first block's, exactly.
INLINE void join_sums(AttendState& s) {
  for (int i = 0; i < s.queries; i += 16) {
    F block_largest = load(s.block_largest + i), block_sum = load(s.block_sum + i);
    F before = load(s.largest + i), largest = max(block_largest, before);
    F old_factor = exp_lanes(before - largest), new_factor = exp_lanes(block_largest - largest);
    store(s.sum + i, fma(load(s.sum + i), old_factor, block_sum * new_factor));
    store(s.old_factor + i, old_factor);
    store(s.new_factor + i, new_factor);
    store(s.largest + i, largest);
  }
}

template <bool kBf16, int W>
INLINE void add_positions(const Block& block, const AttendState& s, int query, int begin, int end, int d, F* out) {
  for (int j = begin; j < end; j++) {
    UNROLL
    for (int w = 0; w < W; w++)
      out[w] = fma(set(s.p[query * kBlock + j]), load_value<kBf16>(block.v, j * s.width + d + 16 * w), out[w]);
  }
}

// The block's values at columns [d, d + 16 W), weighted, for N queries, in the positions' order: those before the ones
// that all of them see, [begin, end), these, those after. A query's own positions are kept to: what stands in the
// others may be anything.
template <bool kBf16, int N, int W>
INLINE void add_values(const Block& block, const std::byte* next_v, AttendState& s, int first, int begin, int end,
                       int d) {
  F out[N][W];
  UNROLL
  for (int n = 0; n < N; n++) {
    UNROLL
    for (int w = 0; w < W; w++) out[n][w] = set(0.0f);
  }
  if (__builtin_expect(begin > 0, 0)) {
    UNROLL
    for (int n = 0; n < N; n++) {
      int query = first + n, before = s.end[query] < begin ? s.end[query] : begin;
      add_positions<kBf16, W>(block, s, query, s.begin[query], before, d, out[n]);
    }
  }
  for (int j = begin; j < end; j++) {
    prefetch<kBf16, 16 * W>(next_v, j * s.width + d);
    F v[W];
    UNROLL
    for (int w = 0; w < W; w++) v[w] = load_value<kBf16>(block.v, j * s.width + d + 16 * w);
    UNROLL
    for (int n = 0; n < N; n++) {
      F p = set(s.p[(first + n) * kBlock + j]);
      UNROLL
      for (int w = 0; w < W; w++) out[n][w] = fma(p, v[w], out[n][w]);
    }
  }
  UNROLL
  for (int n = 0; n < N; n++) {
    int query = first + n;
    add_positions<kBf16, W>(block, s, query, end, s.end[query], d, out[n]);
    UNROLL
    for (int w = 0; w < W; w++) {
      float* total = s.out + query * s.width + d + 16 * w;
      F sum = out[n][w];
      if (s.joins[query]) sum = fma(load(total), set(s.old_factor[query]), sum * set(s.new_factor[query]));
      store(total, sum);
    }
  }
}

template <bool kBf16, int N>
INLINE void add_all_values(const Block& block, const std::byte* next_v, AttendState& s, int first) {
  int begin = 0, end = kBlock, d = 0;
  for (int n = 0; n < N; n++) {
    begin = s.begin[first + n] > begin ? s.begin[first + n] : begin;
    end = s.end[first + n] < end ? s.end[first + n] : end;
  }
  if (end < begin) end = begin;  // nothing that all of them see
  for (; d + 16 * kValueVectors <= s.width; d += 16 * kValueVectors)
    add_values<kBf16, N, kValueVectors>(block, next_v, s, first, begin, end, d);
  for (; d < s.width; d += 16) add_values<kBf16, N, 1>(block, next_v, s, first, begin, end, d);
}

// Calls f(number, first) for queries [first, end) in tiles: whole ones of N, then what is left as one.
template <int N>
struct Count {
  static constexpr int value = N;
};
template <int N, typename Each>
INLINE void each_tile(int first, int end, const Each& f) {
  for (; first + N <= end; first += N) f(Count<N>(), first);
  if constexpr (N > 1) each_tile<N - 1>(first, end, f);
}

// next: the block to come, which the first queries' tiles prefetch.
template <bool kBf16>
void attend_block(const AttendTile& a, const Block& block, const Block& next, AttendState& s) {
  // Queries that see nothing of this block stand at the ends: the first rows, because it comes after them, and the last
  // ones, whose windows begin after it. For them it is a no-op.
  int first = 0, last = s.queries;
  while (first < last && s.end[first] <= 0) first++;
  while (last > first && s.begin[last - 1] >= kBlock) last--;
  each_tile<kTileQueries>(first, last, [&](auto n, int query) {
    score<kBf16, n.value>(a, block, query == first ? next.k : nullptr, s, query);
  });
  for (int i = 0; i < s.queries; i++)
    if (i < first || i >= last) s.block_largest[i] = -__builtin_inff(), s.block_sum[i] = 0;
  join_sums(s);
  each_tile<kTileQueries>(first, last, [&](auto n, int query) {
    add_all_values<kBf16, n.value>(block, query == first ? next.v : nullptr, s, query);
  });
  for (int i = first; i < last; i++) s.joins[i] = true;
}

// Which positions of block b each query sees.
INLINE void look_at(const AttendTile& a, AttendState& s, int64_t b) {
  for (int row = 0; row < a.rows; row++) {
    int64_t end = a.first_position + row + 1 - b * kBlock, begin = a.window > 0 ? end - a.window : 0;
    for (int i = row * a.heads; i < (row + 1) * a.heads; i++) {
      s.begin[i] = static_cast<int>(begin < 0 ? 0 : begin > kBlock ? kBlock : begin);
      s.end[i] = static_cast<int>(end > kBlock ? kBlock : end);
    }
  }
}

INLINE void begin_partition(AttendState& s) {
  for (int i = 0; i < kAttendQueries; i++) s.sum[i] = 0, s.largest[i] = kNothing, s.joins[i] = false;
}

// Joins the partition to those before it, for the queries that saw something of it.
void end_partition(AttendState& s) {
  for (int i = 0; i < s.queries; i += 16) {
    const F here = load(s.largest + i), before = load(s.all_largest + i), largest = max(here, before);
    const F old_factor = exp_lanes(before - largest), new_factor = exp_lanes(here - largest);
    store(s.all_sum + i, fma(load(s.all_sum + i), old_factor, load(s.sum + i) * new_factor));
    store(s.old_factor + i, old_factor);
    store(s.new_factor + i, new_factor);
    store(s.all_largest + i, largest);
  }
  for (int i = 0; i < s.queries; i++) {
    if (!s.joins[i]) continue;
    float *all = s.all_out + i * s.width, *out = s.out + i * s.width;
    for (int d = 0; d < s.width; d += 16) {
      F sum = load(out + d);
      if (s.all_joins[i]) sum = fma(load(all + d), set(s.old_factor[i]), sum * set(s.new_factor[i]));
      store(all + d, sum);
    }
    s.all_joins[i] = true;
  }
}

// A partition's result as memory has it between attend() and join_partitions(), on whatever thread.
void leave_partition(const AttendState& s, float* to) {
  for (int i = 0; i < s.queries * s.width; i += 16) store(to + i, load(s.out + i));
  to += s.queries * s.width;
  for (int i = 0; i < s.queries; i++) to[i] = s.largest[i], to[s.queries + i] = s.sum[i];
}
void take_partition(const float* from, AttendState& s) {
  for (int i = 0; i < s.queries * s.width; i += 16) store(s.out + i, load(from + i));
  from += s.queries * s.width;
  for (int i = 0; i < s.queries; i++) {
    s.largest[i] = from[i], s.sum[i] = from[s.queries + i];
    s.joins[i] = s.sum[i] != 0;  // the largest score alone weighs 1
  }
}

template <bool kBf16>
void attend_blocks(const AttendTile& a, AttendState& s) {
  float* results = a.results;
  const bool in_place = s.width == a.head_dim && (!kBf16 || s.queries <= kTileQueries);
  for (int64_t b = a.first_block; b < a.end_block; b++) {
    look_at(a, s, b);
    const auto block_at = [&](int64_t i) {
      const int64_t at = a.block_table[i] * a.block_bytes;
      return Block{a.k + at, a.v + at};
    };
    const Block block = block_at(b), next = b + 1 < a.end_block ? block_at(b + 1) : Block{a.next_k, a.next_v};
    if (in_place)
      attend_block<kBf16>(a, block, next, s);
    else
      attend_block<false>(a, copy_block<kBf16>(a, block, next, s), {}, s);
    if ((b + 1) % kAttendPartition != 0 && b + 1 < a.end_block) continue;
    if (results)
      leave_partition(s, results), results += a.partition_floats;
    else
      end_partition(s);
    begin_partition(s);
  }
}

void begin(const AttendTile& a, AttendState& s) {
  s.queries = a.rows * a.heads;
  s.width = (a.head_dim + 15) / 16 * 16;
  for (int i = 0; i < kAttendQueries; i++) {
    s.block_largest[i] = s.block_sum[i] = s.all_sum[i] = 0;
    s.all_largest[i] = kNothing;
    s.all_joins[i] = false;
  }
  begin_partition(s);
}

void put_outputs(const AttendTile& a, const AttendState& s) {
  for (int i = 0; i < s.queries; i++) {
    float* out = a.out + i / a.heads * a.out_stride + i % a.heads * a.head_dim;
    for (int d = 0; d < a.head_dim; d += 16)
      store(out + d, load(s.all_out + i * s.width + d) / set(s.all_sum[i]), a.head_dim - d);
  }
}

void attend(const AttendTile& a) {
  AttendState s;
  begin(a, s);
  for (int i = 0; i < s.queries; i++) s.q[i] = a.q + i / a.heads * a.q_stride + i % a.heads * a.head_dim;
  a.bf16 ? attend_blocks<true>(a, s) : attend_blocks<false>(a, s);
  if (!a.results) put_outputs(a, s);
}

void join_partitions(const AttendTile& a, int partitions) {
  AttendState s;
  begin(a, s);
  for (int i = 0; i < partitions; i++) {
    take_partition(a.results + i * a.partition_floats, s);
    end_partition(s);
  }
  put_outputs(a, s);
}

}  // namespace

}  // namespace trireme
