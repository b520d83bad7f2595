// Operations on rows: lookup, norms, encoding, elementwise ones, sampling. Orders of sums are the reference's
// (kernels/cpu/reference.cpp).
#include "kernels/cuda/device.cuh"
#include "kernels/random.h"
#include "kernels/token_order.h"

namespace trireme::cuda {

namespace {

constexpr float kSmallestGroup = 0x1p-100f;  // as in kernels/cpu/inner.h: 127 / largest must not overflow

__global__ void embed_kernel(Embed a) {
  const int64_t row = blockIdx.x, token = int64_t{a.tokens[row]} - a.first_token;
  if (token < 0 || token >= a.table.n) return;
  for (int64_t k = threadIdx.x; k < a.table.k; k += blockDim.x) a.out.row(row)[k] = value_at(a.table, token, k);
}

__global__ void gather_rows_kernel(GatherRows a) {
  const int64_t row = blockIdx.x;
  const float* from = a.row(row);
  for (int64_t k = threadIdx.x; k < a.out.columns; k += blockDim.x) a.out.row(row)[k] = from[k];
}

// Of a whole warp, on every lane: sixteen chains, a lane each.
__device__ float squares(const float* x, int64_t columns) {
  float sum = 0;
  if (lane() < 16)
    for (int64_t k = lane(); k < columns; k += 16) sum = std::fma(x[k], x[k], sum);
  return sum_lanes(sum, 16);
}

__device__ float norm_factor(float sum, int64_t columns, float epsilon) {
  return 1.0f / std::sqrt(sum / static_cast<float>(columns) + epsilon);
}

// Column k of a row, by a warp that has 32 of them from a multiple of 32 on; past the last column x is 0.
__device__ void encode_column(const Activations& out, int64_t row, int64_t k, float x) {
  std::byte* to = out.data + row * out.row_bytes;
  if (out.form == ActivationForm::bf16) {
    if (k < out.row_bytes / 2) reinterpret_cast<BF16*>(to)[k] = to_bf16(x);
    return;
  }
  const bool finite = __all_sync(kAllLanes, std::isfinite(x));
  const float largest = largest_of(std::fabs(x));
  const bool coded = finite && largest >= kSmallestGroup;
  if (out.form == ActivationForm::e4m3) {
    E4M3Group& group = reinterpret_cast<E4M3Group*>(to)[k / kInputGroup];
    group.code[lane()] = coded ? to_e4m3(x * (kLargestE4M3 / largest)) : E4M3{0};
    if (lane() == 0) group.scale = coded ? largest / kLargestE4M3 : finite ? 0.0f : NAN;
    return;
  }
  const int code = coded ? static_cast<int>(std::nearbyint(x * (127.0f / largest))) : 0;
  const int sum = sum_of(code);
  Int8Group& group = reinterpret_cast<Int8Group*>(to)[k / kInputGroup];
  group.code[lane()] = static_cast<int8_t>(code);
  if (lane() != 0) return;
  group.scale = coded ? largest / 127.0f : finite ? 0.0f : NAN;
  group.scaled_sum = coded ? group.scale * static_cast<float>(sum) : group.scale;
  group.minus_8_sum = -8 * sum;
  group.minus_128_sum = -128 * sum;
}
// Columns that warps walk for it.
__device__ int64_t encoded_columns(const Activations& out) { return blocks_of(out.columns, kWarp) * kWarp; }

constexpr int kNormPart = 4096;  // columns that a norm holds at a time; a multiple of 16

// A block a run. The chains read shared memory: from L2, one column behind the other, they would take longer than a
// product of a layer.
__global__ void rms_norm_kernel(RmsNorm a) {
  const int64_t columns = static_cast<int64_t>(a.weight.size()), runs = a.x.columns / columns;
  const int64_t row = blockIdx.x / runs, first = blockIdx.x % runs * columns;
  const float* x = a.x.row(row) + first;
  __shared__ float part[kNormPart];
  __shared__ float factor;
  float sum = 0;
  for (int64_t begin = 0; begin < columns; begin += kNormPart) {
    const int count = static_cast<int>(min(int64_t{kNormPart}, columns - begin));
    __syncthreads();  // nobody reads the part before this one any more
    for (int k = static_cast<int>(threadIdx.x); k < count; k += kThreads) part[k] = x[begin + k];
    __syncthreads();
    if (threadIdx.x < 16)
      for (int k = lane(); k < count; k += 16) sum = std::fma(part[k], part[k], sum);
  }
  if (warp() == 0) {
    sum = sum_lanes(sum, 16);
    if (lane() == 0) factor = norm_factor(sum, columns, a.epsilon);
  }
  __syncthreads();
  for (int64_t k = threadIdx.x; k < (a.encoded.data ? encoded_columns(a.encoded) : columns); k += blockDim.x) {
    const float value = k < columns ? x[k] * factor * a.weight[k] : 0.0f;
    if (k < columns) a.out.row(row)[first + k] = value;
    if (a.encoded.data) encode_column(a.encoded, row, k, value);
  }
}

// A warp a head.
__global__ void sum_squares_kernel(SumSquares a) {
  const int64_t heads = blocks_of(a.x.columns, a.width), item = warp_item();
  if (item >= a.x.rows * heads) return;
  const int64_t row = item / heads, head = item % heads;
  const float sum = squares(a.x.row(row) + head * a.width, a.width);
  if (lane() == 0) a.out.row(row)[head] = sum;
}

__global__ void norm_by_squares_kernel(NormBySquares a) {
  const int64_t row = blockIdx.x;
  float sum = 0;
  for (int64_t head = 0; head < a.sum_squares.columns; head++) sum = sum + a.sum_squares.row(row)[head];
  const float factor = norm_factor(sum, a.columns, a.epsilon);
  float* x = a.x.row(row);
  for (int64_t k = threadIdx.x; k < a.x.columns; k += blockDim.x) x[k] = x[k] * factor * a.weight[k];
}

// A thread a column.
__global__ void encode_kernel(Encode a) {
  const int64_t columns = encoded_columns(a.out), item = item_of(a.x.rows * columns);
  if (item < 0) return;  // whole warps
  const int64_t row = item / columns, k = item % columns;
  encode_column(a.out, row, k, k < a.x.columns ? a.x.row(row)[k] : 0.0f);
}

// A thread a column, in whole warps.
__global__ void gated_mul_kernel(GatedMul a) {
  const int64_t columns = blocks_of(a.gate.columns, kWarp) * kWarp, item = item_of(a.gate.rows * columns);
  if (item < 0) return;
  const int64_t row = item / columns, k = item % columns;
  float value = 0;
  if (k < a.gate.columns) {
    const float gate = a.gate.row(row)[k];
    value = (a.activation == Activation::silu ? silu(gate) : gelu_tanh(gate)) * a.up.row(row)[k];
    a.out.row(row)[k] = value;
  }
  if (a.encoded.data) encode_column(a.encoded, row, k, value);
}

__global__ void add_bias_kernel(AddBias a) {
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  a.x.row(row)[k] = a.x.row(row)[k] + a.bias[k];
}

__global__ void add_scaled_kernel(AddScaled a) {
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  a.x.row(row)[k] = a.x.row(row)[k] + a.y.row(row)[k] * a.scale;
}

__global__ void scale_kernel(Scale a) {
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  const float x = a.x.row(row)[k] * a.scale;
  a.x.row(row)[k] = a.softcap > 0 ? soft_cap(x, a.softcap) : x;
}

struct Nodes {
  const float* at[kMostNodes];
  uint8_t pops[kMostNodes];
  int count = 0;
};

__global__ void tree_combine_kernel(TreeCombine a, Nodes nodes) {
  const int64_t item = item_of(a.out.rows * a.out.columns);
  if (item < 0) return;
  const int64_t row = item / a.out.columns, k = item % a.out.columns;
  float stack[kTreeDepth];
  int depth = 0;
  for (int node = 0; node < nodes.count; node++)
    push(stack, depth, nodes.at[node][row * a.stride + k], nodes.pops[node]);
  float& out = a.out.row(row)[k];
  out = a.accumulate ? out + stack[0] : stack[0];
}

// The better of two: higher score, ties by lower id, -1 behind all. Tokens differ, so the order of asking cannot show.
__device__ SampledToken better(SampledToken a, SampledToken b) {
  if (a.token < 0 || b.token < 0) return a.token < 0 ? b : a;
  if (a.score == b.score) return a.token < b.token ? a : b;
  return a.score > b.score ? a : b;
}

// A block a row, of as many threads as a block may have: it is a single one of the GPU's that reads a whole vocabulary.
constexpr int kSampleThreads = 1024;
__global__ void __launch_bounds__(kSampleThreads) sample_kernel(Sample a) {
  const SampleRow row = a.rows[blockIdx.x];
  SampledToken best;
  bool nan = false;
  for (int32_t t = static_cast<int32_t>(threadIdx.x); t < a.tokens; t += static_cast<int32_t>(blockDim.x)) {
    float score = row.logits[t];
    nan = nan || std::isnan(score);
    if (!row.before.holds(score, a.first_token + t)) continue;
    if (row.temperature > 0) {
      const float u = uniform_float(token_word(row.key, row.position, a.first_token + t));
      score = score / row.temperature + -log_float(-log_float(u));
    }
    best = better(best, {score, a.first_token + t, 0});
  }
  __shared__ float scores[kSampleThreads];
  __shared__ int32_t tokens[kSampleThreads];
  __shared__ int nans;
  const unsigned me = threadIdx.x;
  if (me == 0) nans = 0;
  __syncthreads();
  scores[me] = best.score, tokens[me] = best.token;
  if (nan) nans = 1;  // whoever writes it writes the same
  __syncthreads();
  for (unsigned half = kSampleThreads / 2; half >= 1; half /= 2) {
    if (me < half) {
      const SampledToken both = better({scores[me], tokens[me], 0}, {scores[me + half], tokens[me + half], 0});
      scores[me] = both.score, tokens[me] = both.token;
    }
    __syncthreads();
  }
  if (me > 0) return;
  const bool none = nans || tokens[0] < 0;
  a.out[blockIdx.x] = none ? SampledToken{} : SampledToken{scores[0], tokens[0], row.logits[tokens[0] - a.first_token]};
}

// A block a row. The order of the least of the best is found byte by byte, from the highest: by how many tokens have
// which. Then the tokens above it and the first ones at it are taken, in the order of their ids.
__global__ void best_tokens_kernel(BestTokens a) {
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

void embed(const Launch& launch, const Embed& a) { enqueue(launch, a.out.rows, kThreads, embed_kernel, a); }

void gather_rows(const Launch& launch, const GatherRows& a) {
  enqueue(launch, a.out.rows, kThreads, gather_rows_kernel, a);
}

void rms_norm(const Launch& launch, const RmsNorm& a) {
  const int64_t runs = a.x.columns / static_cast<int64_t>(a.weight.size());
  enqueue(launch, a.x.rows * runs, kThreads, rms_norm_kernel, a);
}

void sum_squares(const Launch& launch, const SumSquares& a) {
  enqueue(launch, blocks_of(a.x.rows * blocks_of(a.x.columns, a.width), kThreads / kWarp), kThreads, sum_squares_kernel,
          a);
}

void norm_by_squares(const Launch& launch, const NormBySquares& a) {
  enqueue(launch, a.x.rows, kThreads, norm_by_squares_kernel, a);
}

void encode(const Launch& launch, const Encode& a) {
  if (a.out.form == ActivationForm::f32) return;
  enqueue(launch, blocks_of(a.x.rows * blocks_of(a.x.columns, kWarp) * kWarp, kThreads), kThreads, encode_kernel, a);
}

void gated_mul(const Launch& launch, const GatedMul& a) {
  enqueue(launch, blocks_of(a.gate.rows * blocks_of(a.gate.columns, kWarp) * kWarp, kThreads), kThreads,
          gated_mul_kernel, a);
}

void add_bias(const Launch& launch, const AddBias& a) {
  enqueue(launch, blocks_of(a.x.rows * a.x.columns, kThreads), kThreads, add_bias_kernel, a);
}

void add_scaled(const Launch& launch, const AddScaled& a) {
  enqueue(launch, blocks_of(a.x.rows * a.x.columns, kThreads), kThreads, add_scaled_kernel, a);
}

void scale(const Launch& launch, const Scale& a) {
  enqueue(launch, blocks_of(a.x.rows * a.x.columns, kThreads), kThreads, scale_kernel, a);
}

void tree_combine(const Launch& launch, const TreeCombine& a) {
  must(a.nodes.size() <= kMostNodes, "the nodes of a combine fit a kernel's parameters");
  Nodes nodes;
  for (const float* node : a.nodes) {
    nodes.pops[nodes.count] = static_cast<uint8_t>(a.program->pops[static_cast<size_t>(nodes.count)]);
    nodes.at[nodes.count++] = node;
  }
  enqueue(launch, blocks_of(a.out.rows * a.out.columns, kThreads), kThreads, tree_combine_kernel, a, nodes);
}

void sample(const Launch& launch, const Sample& a) {
  enqueue(launch, static_cast<int64_t>(a.rows.size()), kSampleThreads, sample_kernel, a);
}

void best_tokens(const Launch& launch, const BestTokens& a) {
  enqueue(launch, static_cast<int64_t>(a.rows.size()), kThreads, best_tokens_kernel, a);
}

void exp_sums(const Launch& launch, const ExpSums& a) {
  enqueue(launch, blocks_of(static_cast<int64_t>(a.rows.size()) * a.units(), kThreads / kWarp), kThreads,
          exp_sums_kernel, a);
}

}  // namespace

void fill_rows(Kernels& kernels) {
  kernels.embed = embed;
  kernels.gather_rows = gather_rows;
  kernels.rms_norm = rms_norm;
  kernels.sum_squares = sum_squares;
  kernels.norm_by_squares = norm_by_squares;
  kernels.encode = encode;
  kernels.gated_mul = gated_mul;
  kernels.add_bias = add_bias;
  kernels.add_scaled = add_scaled;
  kernels.scale = scale;
  kernels.tree_combine = tree_combine;
  kernels.sample = sample;
  kernels.best_tokens = best_tokens;
  kernels.exp_sums = exp_sums;
}

}  // namespace trireme::cuda

namespace trireme {

void fill_cuda(Kernels& kernels, int architecture) {
  kernels.level = "cuda";
  kernels.e4m3_inputs = architecture >= 90;
  cuda::fill_rows(kernels);
  cuda::fill_matmul(kernels);
  cuda::fill_rope(kernels);
  cuda::fill_attention(kernels);
  cuda::fill_experts(kernels);
}

}  // namespace trireme
