// Products of rows with packed weights: which kernel takes which; and FP32, of FP32 or FP16 weights, whose chains are
// the reference's (kernels/cpu/reference_matmul.cpp), a lane an output.
#include "kernels/cuda/matmul.cuh"

namespace trireme::cuda {

namespace {

constexpr int kOutputs = kWarp;           // of a block
constexpr int kSlots = kThreads / kWarp;  // units that a block sums at a time
constexpr int kMostRows = 8;              // of a block

__device__ inline float value_of(float weight) { return weight; }
__device__ inline float value_of(F16 weight) { return half_value(weight.bits); }

template <typename Weight, int kRows>
__device__ void unit_f32(const MatMul& a, int64_t n, int64_t row, int64_t begin, int64_t end,
                         float (&out)[kRows][kOutputs]) {
  const Weight* w = reinterpret_cast<const Weight*>(a.w.data);
  const float* x[kRows];
  float sums[kRows] = {};
  for (int r = 0; r < kRows; r++)  // past the end it is the last row again, which is not written
    x[r] = reinterpret_cast<const float*>(a.x.data + min(row + r, a.x.rows - 1) * a.x.row_bytes);
  for (int64_t k = begin; k < end; k++) {
    const float weight = value_of(w[f32_index(a.w, n, k)]);
    for (int r = 0; r < kRows; r++) sums[r] = std::fma(x[r][k], weight, sums[r]);
  }
  for (int r = 0; r < kRows; r++) out[r][lane()] = sums[r];
}

// The sums of an output and of row first_row + warp(), on a stack: gives how many. Warp w sums units w, w + 8, ...;
// then it runs the tree of row w.
template <typename Weight, int kRows>
__device__ int roots_f32(const MatMul& a, const Units& units, int64_t n, int64_t first_row,
                         float (&stack)[kTreeDepth]) {
  constexpr int kWaiting = 32;  // units whose sums wait for the tree
  __shared__ float sums[kWaiting][kRows][kOutputs];
  int depth = 0;
  for (int first = 0; first < units.tree.nodes; first += kWaiting) {
    const int end = min(first + kWaiting, units.tree.nodes);
    for (int u = first + warp(); u < end; u += kSlots)
      if (n < a.w.n) unit_f32<Weight, kRows>(a, n, first_row, units.begin(u), units.end(u), sums[u - first]);
    __syncthreads();
    for (int u = first; u < end && warp() < kRows; u++)
      push(stack, depth, sums[u - first][warp()][lane()], units.tree.pops[u]);
    __syncthreads();
  }
  return depth;
}

// A block: 32 outputs of kRows rows; a warp: a row. Where gate is a product's other half, up's 32 outputs, too.
template <typename Weight, int kRows>
__global__ void matmul_f32_kernel(MatMul a, Gate gate, Units units) {
  wait_in_line();
  const int64_t panels = gate.panels > 0 ? gate.panels : blocks_of(a.w.n, kOutputs);
  const int64_t first_row = first_row_of(a, blockIdx.x / panels, kRows), row = first_row + warp();
  if (first_row < 0) return;
  const int64_t n = blockIdx.x % panels * kOutputs + lane();
  float stack[kTreeDepth];
  const int roots = roots_f32<Weight, kRows>(a, units, n, first_row, stack);
  const bool mine = warp() < kRows && row < a.x.rows && n < a.w.n;
  if (gate.panels > 0) {
    const float gate_sum = stack[0];
    roots_f32<Weight, kRows>(a, units, gate.panels * kOutputs + n, first_row, stack);
    if (mine) put_gated(a, gate, row, n, gate_sum, stack[0]);
  } else if (mine) {
    for (int root = 0; root < roots; root++)
      a.y[root * a.root_stride + row * a.y_stride + n] = with_bias(a, n, stack[root]);
  }
}

template <typename Weight, int kRows>
void enqueue_f32(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  const int64_t panels = gate.panels > 0 ? gate.panels : blocks_of(a.w.n, kOutputs);
  enqueue(launch, row_tiles(a, kRows) * panels, kThreads, matmul_f32_kernel<Weight, kRows>, a, gate, units);
}

template <typename Weight>
bool multiply_f32(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  const int64_t rows = rows_of_matrix(a);
  if (rows == 1)
    enqueue_f32<Weight, 1>(launch, a, gate, units);
  else if (rows <= 4)
    enqueue_f32<Weight, 4>(launch, a, gate, units);
  else
    enqueue_f32<Weight, kMostRows>(launch, a, gate, units);
  return true;
}

// Rows from which tiles are worth their fixed size.
constexpr int64_t kManyRows = 33;

// Who multiplies 16 columns of many rows: warps, or four of them together.
enum class By { warps, warpgroups };

// False: sums do not fit shared memory, or a gate would leave SMs without work.
template <By kBy>
bool multiply(const Launch& launch, const MatMul& a, const Gate& gate) {
  const Contraction& c = *a.contraction;
  if (c.columns.empty()) return true;
  must(a.w.form != PackedForm::bf16_rows, "plain rows are multiplied by a library");
  must(c.program.roots == 1 || (a.bias.empty() && gate.panels == 0), "of several roots none is the sum");
  const Units units{tree_of(c.program), c.columns.front(), c.columns.back(), c.max_depth};
  if (a.w.form == PackedForm::f32) return multiply_f32<float>(launch, a, gate, units);
  if (a.w.form == PackedForm::f16) return multiply_f32<F16>(launch, a, gate, units);
  if (rows_of_matrix(a) >= kManyRows) {
    if (kBy == By::warpgroups && in_pairs(a.w.form))
      return warpgroup_matmul(launch, a, gate, units) || stream_matmul(launch, a, gate, units);
    if (tile_matmul(launch, a, gate, units)) return true;
  }
  return stream_matmul(launch, a, gate, units);
}

template <By kBy>
void matmul(const Launch& launch, const MatMul& a) {
  must(multiply<kBy>(launch, a, {}), "the sums of a contraction fit shared memory");
}

template <By kBy>
void gated_matmul(const Launch& launch, const GatedMatMul& a) {
  const MatMul& p = a.product;
  if (multiply<kBy>(launch, p, gate_of(a))) return;
  matmul<kBy>(launch, p);
  const int64_t columns = a.out.columns;
  gated_mul(launch, {a.activation,
                     {p.y, a.out.rows, columns, p.y_stride},
                     {p.y + columns, a.out.rows, columns, p.y_stride},
                     a.out,
                     a.encoded});
}

}  // namespace

void fill_matmul(Kernels& kernels) {
  kernels.matmul = matmul<By::warps>;
  kernels.gated_matmul = gated_matmul<By::warps>;
}

}  // namespace trireme::cuda

namespace trireme {

void take_warpgroups(Kernels& kernels) {
  kernels.warpgroups = true;
  kernels.matmul = cuda::matmul<cuda::By::warpgroups>;
  kernels.gated_matmul = cuda::gated_matmul<cuda::By::warpgroups>;
}

}  // namespace trireme
