// What rows of logits say: the token that is drawn, the best ones, sums of exponentials. Orders of sums are the
// reference's (kernels/cpu/reference.cpp).
#include "kernels/cuda/device.cuh"
#include "kernels/random.h"
#include "kernels/token_order.h"

namespace trireme::cuda {

namespace {

// The better of two: higher score, ties by lower id, -1 behind all. Tokens differ, so the order of asking cannot show.
__device__ SampledToken better(SampledToken a, SampledToken b) {
  if (a.token < 0 || b.token < 0) return a.token < 0 ? b : a;
  if (a.score == b.score) return a.token < b.token ? a : b;
  return a.score > b.score ? a : b;
}

// What the threads of a block found, on its first one: -1 where one saw a NaN, whose logit is then a NaN, too.
__device__ SampledToken best_of_block(SampledToken best, bool nan) {
  __shared__ float scores[kThreads];
  __shared__ int32_t tokens[kThreads];
  __shared__ int nans;
  const unsigned me = threadIdx.x;
  if (me == 0) nans = 0;
  __syncthreads();
  scores[me] = best.score, tokens[me] = best.token;
  if (nan) nans = 1;  // whoever writes it writes the same
  __syncthreads();
  for (unsigned half = kThreads / 2; half >= 1; half /= 2) {
    if (me < half) {
      const SampledToken both = better({scores[me], tokens[me], 0}, {scores[me + half], tokens[me + half], 0});
      scores[me] = both.score, tokens[me] = both.token;
    }
    __syncthreads();
  }
  return nans ? SampledToken{0, -1, NAN} : SampledToken{scores[0], tokens[0], 0};
}

__device__ void write_sampled(const Sample& a, int64_t row, SampledToken best) {
  if (threadIdx.x > 0) return;
  const bool none = best.token < 0;
  a.out[row] =
      none ? SampledToken{} : SampledToken{best.score, best.token, a.rows[row].logits[best.token - a.first_token]};
}

// A block a part of a row: of a whole vocabulary noise would keep a single SM busy for longer than a layer takes.
__global__ void sample_kernel(Sample a, int parts, int32_t of_part) {
  wait_in_line();
  const int64_t at = blockIdx.x / static_cast<unsigned>(parts);
  const int32_t first = static_cast<int32_t>(blockIdx.x % static_cast<unsigned>(parts)) * of_part;
  const int32_t end = min(a.tokens, first + of_part);
  const SampleRow row = a.rows[at];
  SampledToken best;
  bool nan = false;
  for (int32_t t = first + static_cast<int32_t>(threadIdx.x); t < end; t += kThreads) {
    float score = row.logits[t];
    nan = nan || std::isnan(score);
    if (!row.before.holds(score, a.first_token + t)) continue;
    if (row.temperature > 0) {
      const float u = uniform_float(token_word(row.key, row.position, a.first_token + t));
      score = score / row.temperature + -log_float(-log_float(u));
    }
    best = better(best, {score, a.first_token + t, 0});
  }
  best = best_of_block(best, nan);
  if (parts == 1)
    write_sampled(a, at, best);
  else if (threadIdx.x == 0)
    a.parts[blockIdx.x] = best;
}

// A block a row: the best of its parts.
__global__ void best_part_kernel(Sample a, int parts) {
  wait_in_line();
  const int64_t row = blockIdx.x;
  SampledToken best;
  if (threadIdx.x < static_cast<unsigned>(parts)) best = a.parts[row * parts + threadIdx.x];
  write_sampled(a, row, best_of_block(best, std::isnan(best.logit)));
}

constexpr int kBestThreads = 1024;  // of a row's block, and the most tokens that it keeps
static_assert(kMostBest <= kBestThreads, "as many threads have a token as are the best");

// use(logit, token) for a thread's own tokens, every 1024th, by loads that do not wait for each other.
template <typename Use>
__device__ void each_own(const float* logits, int32_t tokens, const Use& use) {
  constexpr int kAhead = 8;
  auto t = static_cast<int32_t>(threadIdx.x);
  for (; t + (kAhead - 1) * kBestThreads < tokens; t += kAhead * kBestThreads) {
    float ahead[kAhead];
    UNROLL
    for (int i = 0; i < kAhead; i++) ahead[i] = logits[t + i * kBestThreads];
    UNROLL
    for (int i = 0; i < kAhead; i++) use(ahead[i], t + i * kBestThreads);
  }
  for (; t < tokens; t += kBestThreads) use(logits[t], t);
}

// A number that exactly `nth` of the threads' are at or above, bit by bit from the highest. At least `nth` of theirs
// are not 0, and those all differ.
__device__ uint64_t bound_of_block(uint64_t mine, int nth) {
  uint64_t bound = 0;
  NO_UNROLL
  for (int bit = 63; bit >= 0; bit--) {
    const uint64_t tried = bound | uint64_t{1} << bit;
    const int above = __syncthreads_count(mine >= tried);
    if (above >= nth) bound = tried;
    if (above == nth) break;  // of random logits after some 20 bits
  }
  return bound;
}

// A block a row. Where each thread knows the best of its own tokens, and `nth` of these are at or above a bound, so are
// the best `nth` of the row, and few others: a second reading keeps them, and the choice is among those. No two tokens
// have the same token_order(), so that equal logits are nothing special.
__global__ void __launch_bounds__(kBestThreads) best_tokens_kernel(BestTokens a) {
  wait_in_line();
  __shared__ uint64_t kept[kBestThreads];
  __shared__ int kept_of_row;
  const float* logits = a.rows[blockIdx.x];
  TokenLogit* out = a.out.data() + int64_t{blockIdx.x} * a.count;
  const int me = static_cast<int>(threadIdx.x), nth = min(a.count, a.tokens);
  uint32_t largest = 0;
  int32_t at = me;
  each_own(logits, a.tokens, [&](float logit, int32_t t) {
    const uint32_t order = logit_order(logit);
    if (order > largest) largest = order, at = t;
  });
  const uint64_t best = me >= a.tokens ? 0 : order_of(largest, at);
  uint64_t bound = bound_of_block(best, nth);
  int n = 0;
  // Once, but where threads have so many of the best that there is no room: then bounds are bisected.
  for (uint64_t low = 0, high = ~uint64_t{0};; bound = low + (high - low) / 2) {
    if (me == 0) kept_of_row = 0;
    __syncthreads();
    if (best >= bound)
      each_own(logits, a.tokens, [&](float logit, int32_t t) {
        const uint64_t order = token_order(logit, t);
        if (order < bound) return;
        const int i = atomicAdd(&kept_of_row, 1);
        if (i < kBestThreads) kept[i] = order;
      });
    __syncthreads();
    n = kept_of_row;
    if (n >= nth && n <= kBestThreads) break;
    (n < nth ? high : low) = bound;
    __syncthreads();  // all have read how many they are
  }
  const uint64_t mine = me < n ? kept[me] : 0, least = n > nth ? bound_of_block(mine, nth) : 1;
  if (mine >= least) {
    const int32_t t = token_of(mine);
    int before = 0;
    for (int i = 0; i < n; i++) before += kept[i] >= least && token_of(kept[i]) < t;
    out[before] = {logits[t], a.first_token + t};
  }
  if (me >= nth && me < a.count) out[me] = {};
}

// A warp a unit of a row, sixteen chains.
__global__ void exp_sums_kernel(ExpSums a) {
  wait_in_line();
  const int64_t item = warp_item(), units = a.units();
  if (item >= static_cast<int64_t>(a.rows.size()) * units) return;
  const ExpSumRow row = a.rows[static_cast<size_t>(item / units)];
  const int32_t first = static_cast<int32_t>(item % units) * a.unit, columns = min(a.unit, a.tokens - first);
  const float* x = row.logits + first;
  float top = -INFINITY, sum = 0;
  for (int32_t k = lane(); k < columns; k += kWarp) top = std::fmax(top, x[k]);
  top = largest_of(top);
  if (lane() < 16 && top > -INFINITY)
    for (int32_t k = lane(); k < columns; k += 16)
      if (row.before.holds(x[k], a.first_token + first + k)) sum += exp_float((x[k] - top) / row.temperature);
  sum = sum_lanes(sum, 16);
  const int32_t at = row.token - a.first_token - first;
  if (lane() == 0) a.out[static_cast<size_t>(item)] = {top, sum, at >= 0 && at < columns ? x[at] : 0};
}

void sample(const Launch& launch, const Sample& a) {
  const auto rows = static_cast<int64_t>(a.rows.size());
  const auto busy = static_cast<int>(std::clamp<int64_t>(blocks_of(a.tokens, kThreads), 1, kSampleParts));
  const int parts = a.parts.empty() ? 1 : busy;  // about a token a thread at least
  const auto of_part = static_cast<int32_t>(blocks_of(a.tokens, parts));
  enqueue(launch, rows * parts, kThreads, sample_kernel, a, parts, of_part);
  if (parts > 1) enqueue(launch, rows, kThreads, best_part_kernel, a, parts);
}

void best_tokens(const Launch& launch, const BestTokens& a) {
  enqueue(launch, static_cast<int64_t>(a.rows.size()), kBestThreads, best_tokens_kernel, a);
}

void exp_sums(const Launch& launch, const ExpSums& a) {
  enqueue(launch, blocks_of(static_cast<int64_t>(a.rows.size()) * a.units(), kThreads / kWarp), kThreads,
          exp_sums_kernel, a);
}

}  // namespace

void fill_sampling(Kernels& kernels) {
  kernels.sample = sample;
  kernels.best_tokens = best_tokens;
  kernels.exp_sums = exp_sums;
}

}  // namespace trireme::cuda
