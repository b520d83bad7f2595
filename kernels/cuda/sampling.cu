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
__global__ void best_part_kernel(Sample a) {
  wait_in_line();
  const int64_t row = blockIdx.x;
  SampledToken best;
  if (threadIdx.x < kSampleParts) best = a.parts[row * kSampleParts + threadIdx.x];
  write_sampled(a, row, best_of_block(best, std::isnan(best.logit)));
}

// A block a row. The order of the least of the best is found byte by byte, from the highest: by how many tokens have
// which. Then the tokens above it and the first ones at it are taken, in the order of their ids.
__global__ void best_tokens_kernel(BestTokens a) {
  wait_in_line();
  constexpr int kWarps = kThreads / kWarp;
  static_assert(kThreads == 256, "a thread a value of a byte");
  __shared__ int bins[256], above_of[kWarps], at_of[kWarps], left_of_row;
  __shared__ uint32_t least_of_row;
  const float* logits = a.rows[blockIdx.x];
  TokenLogit* out = a.out.data() + int64_t{blockIdx.x} * a.count;
  const int me = static_cast<int>(threadIdx.x);
  uint32_t least = 0;
  int left = a.count;  // to be taken of those at `least`, as far as it is known
  for (int shift = 24; shift >= 0 && a.tokens > a.count; shift -= 8) {
    bins[me] = 0;
    __syncthreads();
    for (int32_t t = me; t < a.tokens; t += kThreads) {
      const uint32_t order = logit_order(logits[t]);
      if (shift == 24 || order >> (shift + 8) == least >> (shift + 8)) atomicAdd(&bins[order >> shift & 255], 1);
    }
    __syncthreads();
    if (me == 0) {
      uint32_t bin = 255;
      for (; bins[bin] < left; bin--) left -= bins[bin];
      least_of_row = least | bin << shift, left_of_row = left;
    }
    __syncthreads();
    least = least_of_row, left = left_of_row;
  }
  int above_before = 0, at_before = 0;
  for (int32_t first = 0; first < a.tokens; first += kThreads) {
    const int32_t t = first + me;
    const uint32_t order = t < a.tokens ? logit_order(logits[t]) : 0;
    const bool above = t < a.tokens && order > least, at = t < a.tokens && order == least;
    const unsigned above_lanes = __ballot_sync(kAllLanes, above), at_lanes = __ballot_sync(kAllLanes, at);
    __syncthreads();  // nobody reads the counts before these any more
    if (lane() == 0) above_of[warp()] = __popc(above_lanes), at_of[warp()] = __popc(at_lanes);
    __syncthreads();
    const unsigned lower = (1u << lane()) - 1;
    int above_here = above_before + __popc(above_lanes & lower), at_here = at_before + __popc(at_lanes & lower);
    for (int w = 0; w < kWarps; w++) {
      if (w < warp()) above_here += above_of[w], at_here += at_of[w];
      above_before += above_of[w], at_before += at_of[w];
    }
    if (above || (at && at_here < left)) out[above_here + min(at_here, left)] = {logits[t], a.first_token + t};
  }
  for (int i = above_before + min(at_before, left) + me; i < a.count; i += kThreads) out[i] = {};
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
  const int parts = a.parts.empty() ? 1 : kSampleParts;
  const auto of_part = static_cast<int32_t>(blocks_of(a.tokens, parts));
  enqueue(launch, rows * parts, kThreads, sample_kernel, a, parts, of_part);
  if (parts > 1) enqueue(launch, rows, kThreads, best_part_kernel, a);
}

void best_tokens(const Launch& launch, const BestTokens& a) {
  enqueue(launch, static_cast<int64_t>(a.rows.size()), kThreads, best_tokens_kernel, a);
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
