// Sums over the group's ranks, and norms: of a row alone, of what comes out of such a sum, of heads that several ranks
// hold. Orders of sums are the reference's (kernels/cpu/reference.cpp).
#include "kernels/cuda/encode.cuh"

namespace trireme::cuda {

namespace {

// Of a TreeCombine, as a kernel's parameter.
struct Nodes {
  const float* at[kMostNodes];
  uint8_t pops[kMostNodes];
  int count = 0;
};

constexpr int kAsked = 8;  // nodes that are asked for at a time: one of another GPU takes a microsecond to come

// A thread a column.
__global__ void tree_combine_kernel(TreeCombine a, Nodes nodes) {
  wait_in_line();
  const int64_t item = item_of(a.out.rows * a.out.columns);
  if (item < 0) return;
  const int64_t row = item / a.out.columns, k = item % a.out.columns;
  float stack[kTreeDepth];
  int depth = 0;
  for (int first = 0; first < nodes.count; first += kAsked) {
    float sums[kAsked];
    UNROLL
    for (int i = 0; i < kAsked; i++) sums[i] = first + i < nodes.count ? nodes.at[first + i][row * a.stride + k] : 0;
    UNROLL
    for (int i = 0; i < kAsked; i++)
      if (first + i < nodes.count) push(stack, depth, sums[i], nodes.pops[first + i]);
  }
  float& out = a.out.row(row)[k];
  out = a.accumulate ? out + stack[0] : stack[0];
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

constexpr int kNormThreads = 1024, kHeld = 4;    // of a block of a wide norm; columns that a thread has at a time
constexpr int kNormPart = kNormThreads * kHeld;  // columns of a block at a time, a multiple of 16

// Values k, k + apart, ... of `columns`, all loaded before one is used; zeros past the end.
__device__ void load_columns(const float* x, int64_t k, int64_t apart, int64_t columns, float (&values)[kHeld]) {
  UNROLL
  for (int i = 0; i < kHeld; i++) values[i] = k + i * apart < columns ? x[k + i * apart] : 0.0f;
}

// What a norm adds to x first, or puts in its place: the sum of one node or of two.
struct Added {
  MatrixView<float> out;
  int64_t stride = 0;  // floats, of the nodes
  const float *first = nullptr, *second = nullptr;
  bool accumulate = false;

  __device__ void add(int64_t row, int64_t k, int64_t apart, int64_t columns, float (&x)[kHeld]) const {
    float sums[kHeld], others[kHeld];
    load_columns(first + row * stride, k, apart, columns, sums);
    if (second) load_columns(second + row * stride, k, apart, columns, others);
    UNROLL
    for (int i = 0; i < kHeld; i++) {
      if (second) sums[i] = sums[i] + others[i];
      x[i] = accumulate ? x[i] + sums[i] : sums[i];
      if (k + i * apart < columns) out.row(row)[k + i * apart] = x[i];
    }
  }
};

// A block a run. The chains read shared memory: from L2, one column behind the other, they would take longer than a
// product of a layer. The weights, which nobody writes, are asked for before x is there. With something to be added a
// run is a row.
template <bool kAdds>
__global__ void __launch_bounds__(kNormThreads) rms_norm_kernel(RmsNorm a, Added added) {
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
    if constexpr (kAdds) added.add(row, begin + me, threads, columns, values);
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

void tree_combine(const Launch& launch, const TreeCombine& a) {
  must(a.nodes.size() <= kMostNodes, "the nodes of a combine fit a kernel's parameters");
  Nodes nodes;
  for (const float* node : a.nodes) {
    nodes.pops[nodes.count] = static_cast<uint8_t>(a.program->pops[static_cast<size_t>(nodes.count)]);
    nodes.at[nodes.count++] = node;
  }
  enqueue(launch, blocks_of(a.out.rows * a.out.columns, kThreads), kThreads, tree_combine_kernel, a, nodes);
}

template <bool kAdds>
void enqueue_norm(const Launch& launch, const RmsNorm& a, const Added& added) {
  const int64_t columns = static_cast<int64_t>(a.weight.size()), runs = a.x.columns / columns;
  enqueue(launch, a.x.rows * runs, columns > kThreads * kHeld ? kNormThreads : kThreads, rms_norm_kernel<kAdds>, a,
          added);
}

void rms_norm(const Launch& launch, const RmsNorm& a) { enqueue_norm<false>(launch, a, {}); }

void add_norm(const Launch& launch, const AddNorm& a) {
  const TreeCombine& sum = a.sum;
  must(!sum.nodes.empty() && sum.nodes.size() <= AddNorm::kMostNodes, "a norm adds a few nodes");
  const float* second = sum.nodes.size() == 2 ? sum.nodes[1] : nullptr;
  enqueue_norm<true>(launch, a.norm, {sum.out, sum.stride, sum.nodes[0], second, sum.accumulate});
}

void sum_squares(const Launch& launch, const SumSquares& a) {
  enqueue(launch, blocks_of(a.x.rows * blocks_of(a.x.columns, a.width), kThreads / kWarp), kThreads, sum_squares_kernel,
          a);
}

void norm_by_squares(const Launch& launch, const NormBySquares& a) {
  enqueue(launch, a.x.rows, kThreads, norm_by_squares_kernel, a);
}

}  // namespace

void fill_norms(Kernels& kernels) {
  kernels.rms_norm = rms_norm;
  kernels.sum_squares = sum_squares;
  kernels.norm_by_squares = norm_by_squares;
  kernels.tree_combine = tree_combine;
  kernels.add_norm = add_norm;
}

}  // namespace trireme::cuda
