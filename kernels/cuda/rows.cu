// Operations on rows: lookup, norms, encoding, elementwise ones. Orders of sums are the reference's
// (kernels/cpu/reference.cpp).
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

namespace {

constexpr float kSmallestGroup = 0x1p-100f;  // as in kernels/cpu/inner.h: 127 / largest must not overflow

__global__ void embed_kernel(Embed a) {
  wait_in_line();
  const int64_t row = blockIdx.x, token = int64_t{a.tokens[row]} - a.first_token;
  if (token < 0 || token >= a.table.n) return;
  for (int64_t k = threadIdx.x; k < a.table.k; k += blockDim.x) a.out.row(row)[k] = value_at(a.table, token, k);
}

__global__ void gather_rows_kernel(GatherRows a) {
  wait_in_line();
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

constexpr int kNormThreads = 1024, kHeld = 4;    // of a block of a wide norm; columns that a thread has at a time
constexpr int kNormPart = kNormThreads * kHeld;  // columns of a block at a time, a multiple of 16

// Values k, k + apart, ... of `columns`, all loaded before one is used; zeros past the end.
__device__ void load_columns(const float* x, int64_t k, int64_t apart, int64_t columns, float (&values)[kHeld]) {
  UNROLL
  for (int i = 0; i < kHeld; i++) values[i] = k + i * apart < columns ? x[k + i * apart] : 0.0f;
}

// A block a run. The chains read shared memory: from L2, one column behind the other, they would take longer than a
// product of a layer. The weights, which nobody writes, are asked for before x is there.
__global__ void __launch_bounds__(kNormThreads) rms_norm_kernel(RmsNorm a) {
  const int64_t columns = static_cast<int64_t>(a.weight.size()), runs = a.x.columns / columns;
  const int64_t row = blockIdx.x / runs, first = blockIdx.x % runs * columns;
  const int me = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), width = threads * kHeld;
  const float *x = a.x.row(row) + first, *weight = a.weight.data();
  __shared__ float part[kNormPart];
  __shared__ float factor;
  float values[kHeld], weights[kHeld], sum = 0;
  load_columns(weight, me, threads, columns, weights);
  wait_in_line();
  for (int64_t begin = 0; begin < columns; begin += width) {
    const int count = static_cast<int>(min(int64_t{width}, columns - begin));
    load_columns(x + begin, me, threads, count, values);
    __syncthreads();  // nobody reads the part before this one any more
    UNROLL
    for (int i = 0; i < kHeld; i++) part[me + i * threads] = values[i];
    __syncthreads();
    if (me < 16)
      for (int k = lane(); k < count; k += 16) sum = std::fma(part[k], part[k], sum);
  }
  if (warp() == 0) {
    sum = sum_lanes(sum, 16);
    if (lane() == 0) factor = norm_factor(sum, columns, a.epsilon);
  }
  __syncthreads();
  const int64_t end = a.encoded.data ? encoded_columns(a.encoded) : columns;
  for (int64_t begin = 0; begin < end; begin += width) {
    if (columns > width) {  // else both are here
      load_columns(x + begin, me, threads, columns - begin, values);
      load_columns(weight + begin, me, threads, columns - begin, weights);
    }
    UNROLL
    for (int i = 0; i < kHeld; i++) {
      const int64_t k = begin + me + i * threads;
      if (k >= end) break;  // to be encoded, whole warps
      const float value = k < columns ? values[i] * factor * weights[i] : 0.0f;
      if (k < columns) a.out.row(row)[first + k] = value;
      if (a.encoded.data) encode_column(a.encoded, row, k, value);
    }
  }
}

// A warp a head.
__global__ void sum_squares_kernel(SumSquares a) {
  wait_in_line();
  const int64_t heads = blocks_of(a.x.columns, a.width), item = warp_item();
  if (item >= a.x.rows * heads) return;
  const int64_t row = item / heads, head = item % heads;
  const float sum = squares(a.x.row(row) + head * a.width, a.width);
  if (lane() == 0) a.out.row(row)[head] = sum;
}

__global__ void norm_by_squares_kernel(NormBySquares a) {
  wait_in_line();
  const int64_t row = blockIdx.x;
  float sum = 0;
  for (int64_t head = 0; head < a.sum_squares.columns; head++) sum = sum + a.sum_squares.row(row)[head];
  const float factor = norm_factor(sum, a.columns, a.epsilon);
  float* x = a.x.row(row);
  for (int64_t k = threadIdx.x; k < a.x.columns; k += blockDim.x) x[k] = x[k] * factor * a.weight[k];
}

// A thread a column.
__global__ void encode_kernel(Encode a) {
  wait_in_line();
  const int64_t columns = encoded_columns(a.out), item = item_of(a.x.rows * columns);
  if (item < 0) return;  // whole warps
  const int64_t row = item / columns, k = item % columns;
  encode_column(a.out, row, k, k < a.x.columns ? a.x.row(row)[k] : 0.0f);
}

// A thread a column, in whole warps.
__global__ void gated_mul_kernel(GatedMul a) {
  wait_in_line();
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
  wait_in_line();
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  a.x.row(row)[k] = a.x.row(row)[k] + a.bias[k];
}

__global__ void add_scaled_kernel(AddScaled a) {
  wait_in_line();
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  a.x.row(row)[k] = a.x.row(row)[k] + a.y.row(row)[k] * a.scale;
}

__global__ void scale_kernel(Scale a) {
  wait_in_line();
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
  wait_in_line();
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

void embed(const Launch& launch, const Embed& a) { enqueue(launch, a.out.rows, kThreads, embed_kernel, a); }

void gather_rows(const Launch& launch, const GatherRows& a) {
  enqueue(launch, a.out.rows, kThreads, gather_rows_kernel, a);
}

void rms_norm(const Launch& launch, const RmsNorm& a) {
  const int64_t columns = static_cast<int64_t>(a.weight.size()), runs = a.x.columns / columns;
  enqueue(launch, a.x.rows * runs, columns > kThreads * kHeld ? kNormThreads : kThreads, rms_norm_kernel, a);
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
  cuda::fill_sampling(kernels);
}

}  // namespace trireme
