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

constexpr int kNormThreads = 512, kNormEach = 8;  // values that a thread asks for at a time
constexpr int kHeld = 8192;                       // columns that a block holds at a time

// What a norm adds first: one node or two, to x or in its place.
struct Added {
  float* x = nullptr;
  int64_t x_stride = 0, stride = 0;  // of a row of x, of the nodes
  const float *first = nullptr, *second = nullptr;
  bool accumulate = false;

  __device__ float to(float before, int64_t at) const {
    const float sum = second ? first[at] + second[at] : first[at];
    return accumulate ? before + sum : sum;
  }
};

// A block a run. Its columns come to shared memory, where the chains read them: from L2, one column behind the other,
// they would take longer than a product of a layer. All of a thread's are asked for before one is written, for as far
// as the compiler knows they may be the same.
template <bool kAdds>
__global__ void __launch_bounds__(kNormThreads) norm_kernel(RmsNorm a, Added added) {
  const int64_t columns = static_cast<int64_t>(a.weight.size()), runs = a.x.columns / columns;
  const int64_t row = blockIdx.x / runs, first = blockIdx.x % runs * columns;
  const int me = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), stride = kNormEach * threads;
  const float* x = a.x.row(row) + first;
  float* held = reinterpret_cast<float*>(block_memory());
  __shared__ float factor;
  float squares = 0, value[kNormEach];
  for (int64_t begin = 0; begin < columns; begin += kHeld) {
    const int64_t end = min(columns, begin + kHeld);
    __syncthreads();  // nobody reads the columns before these any more
    for (int64_t some = begin + me; some < end; some += stride) {
      UNROLL
      for (int i = 0; i < kNormEach; i++)
        if (const int64_t k = some + i * threads; k < end) {
          value[i] = x[k];
          if constexpr (kAdds) value[i] = added.to(value[i], row * added.stride + k);
        }
      UNROLL
      for (int i = 0; i < kNormEach; i++)
        if (const int64_t k = some + i * threads; k < end) {
          held[k - begin] = value[i];
          if constexpr (kAdds) added.x[row * added.x_stride + k] = value[i];
        }
    }
    __syncthreads();
    if (me < 16)
      for (int64_t k = me; k < end - begin; k += 16) squares = std::fma(held[k], held[k], squares);
  }
  if (warp() == 0) {
    squares = sum_lanes(squares, 16);
    if (me == 0) factor = norm_factor(squares, columns, a.epsilon);
  }
  __syncthreads();
  const int64_t padded = a.encoded.data ? encoded_columns(a.encoded) : columns;
  for (int64_t some = me; some < padded; some += stride) {
    UNROLL
    for (int i = 0; i < kNormEach; i++) {
      const int64_t k = some + i * threads;
      value[i] = k < columns ? (columns <= kHeld ? held[k] : x[k]) * factor * a.weight[k] : 0;
    }
    UNROLL
    for (int i = 0; i < kNormEach; i++) {
      const int64_t k = some + i * threads;
      if (k < columns) a.out.row(row)[first + k] = value[i];
      if (a.encoded.data && k < padded) encode_column(a.encoded, row, k, value[i]);  // whole warps
    }
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
  const int64_t columns = static_cast<int64_t>(a.weight.size()), warps = blocks_of(columns, kNormEach * kWarp);
  const int64_t threads = min(int64_t{kNormThreads}, warps * kWarp), held = min(columns, int64_t{kHeld});
  enqueue_shared(launch, a.x.rows * (a.x.columns / columns), static_cast<int>(threads), held * 4, norm_kernel<kAdds>, a,
                 added);
}

void rms_norm(const Launch& launch, const RmsNorm& a) { enqueue_norm<false>(launch, a, {}); }

// More nodes, which lie on other GPUs, are asked for by more threads than those of a row's one block.
void add_norm(const Launch& launch, const AddNorm& a) {
  const std::span<const float* const> nodes = a.sum.nodes;
  if (nodes.size() > 2) return tree_combine(launch, a.sum), rms_norm(launch, a.norm);
  const float* second = nodes.size() == 2 ? nodes[1] : nullptr;
  enqueue_norm<true>(launch, a.norm,
                     {a.sum.out.data, a.sum.out.stride, a.sum.stride, nodes[0], second, a.sum.accumulate});
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
