// Products of rows with packed weights. A warp sums one unit of the contraction for 32 outputs and a few rows, the
// chains being the reference's (kernels/cpu/reference_matmul.cpp); the units' sums meet in shared memory, where their
// tree runs.
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

namespace {

constexpr int kOutputs = kWarp;           // of a block
constexpr int kSlots = kThreads / kWarp;  // units that a block sums at a time
constexpr int kUnits = 32;                // sums that wait for the tree

// All units have `columns`, the last `last_columns`.
struct Units {
  Tree tree;
  int columns = 0, last_columns = 0;
};

template <int kRows>
struct Sums {
  float of[kRows];
};

// The rows of a tile; those past the end are the last one again, and not written.
template <int kRows>
struct RowTile {
  const std::byte* x[kRows];
};

template <int kRows>
__device__ Sums<kRows> unit_f32(const MatMul& a, const RowTile<kRows>& tile, int64_t n, int64_t begin, int64_t end) {
  const float* w = reinterpret_cast<const float*>(a.w.data);
  Sums<kRows> sums{};
  for (int64_t k = begin; k < end; k++) {
    const float weight = w[f32_index(a.w, n, k)];
    for (int r = 0; r < kRows; r++)
      sums.of[r] = std::fma(reinterpret_cast<const float*>(tile.x[r])[k], weight, sums.of[r]);
  }
  return sums;
}

// The pairs of VDPBF16PS, which flushes subnormals (docs/numerics.md).
constexpr float kSmallestNormal = 0x1p-126f;
__device__ float flush(float x) { return std::fabs(x) < kSmallestNormal ? std::copysign(0.0f, x) : x; }

__device__ float fused_flushed(float x, float y, float sum) {
  x = flush(x), y = flush(y);
  const float result = std::fma(x, y, sum);
  // A result is subnormal when it is so after rounding to 24 bits at unbounded exponent: ask again, scaled up.
  if (std::fabs(result) == kSmallestNormal) {
    (std::fabs(x) < 1 ? x : y) *= 0x1p64f;
    if (std::fabs(std::fma(x, y, sum * 0x1p64f)) < kSmallestNormal * 0x1p64f) return std::copysign(0.0f, result);
  }
  return flush(result);
}

template <int kRows>
__device__ Sums<kRows> unit_bf16(const MatMul& a, const RowTile<kRows>& tile, int64_t n, int64_t begin, int64_t end) {
  const BF16* w = reinterpret_cast<const BF16*>(a.w.data);
  Sums<kRows> sums{};
  for (int64_t k = begin; k < end; k += 2) {
    const bool pair = k + 1 < end;  // else the odd column is padding: zeros, which still turn a sum of -0 into +0
    const float even = to_float(w[bf16_index(a.w, n, k)]), odd = pair ? to_float(w[bf16_index(a.w, n, k + 1)]) : 0;
    for (int r = 0; r < kRows; r++) {
      const BF16* x = reinterpret_cast<const BF16*>(tile.x[r]);
      sums.of[r] = fused_flushed(pair ? to_float(x[k + 1]) : 0, odd, sums.of[r]);
      sums.of[r] = fused_flushed(to_float(x[k]), even, sums.of[r]);
    }
  }
  return sums;
}

// Four columns of one output, as signed bytes: codes of 8 bits less 128, codes of 4 bits as they are.
__device__ int codes_of(const PackedView& w, const std::byte* group, int output, int i) {
  const int word = *reinterpret_cast<const int*>(group + code_offset(w.form, output, i));
  return w.form == PackedForm::q4 ? word >> nibble_shift(i) & 0x0f0f0f0f : word ^ static_cast<int>(0x80808080u);
}

// Integers inside the columns of one scale, whose order cannot be seen.
template <int kRows>
__device__ Sums<kRows> unit_int8(const MatMul& a, const RowTile<kRows>& tile, int64_t n, int64_t begin, int64_t end) {
  const int output = static_cast<int>(n % kGroupPanel), zero = a.w.has_minimum ? 0 : a.w.zero;
  const int missing = (a.w.form == PackedForm::q8 ? 128 : 0) - zero;  // what codes_of() left out, of every column
  constexpr int kOnes = 0x01010101;
  end = blocks_of(end, kGroupColumns) * kGroupColumns;  // the last group is padded with zeros
  Sums<kRows> sums{};
  for (int64_t k = begin; k < end; k += a.w.scale_columns) {
    const std::byte* w = group_data(a.w, n, k);
    const int first = static_cast<int>(k % kGroupColumns);
    int dot[kRows] = {}, x_sum[kRows] = {};
    for (int i = first; i < first + a.w.scale_columns; i += 4) {
      const int codes = codes_of(a.w, w, output, i);
      for (int r = 0; r < kRows; r++) {
        const Int8Group& x = reinterpret_cast<const Int8Group*>(tile.x[r])[k / kGroupColumns];
        const int four = *reinterpret_cast<const int*>(x.code + i);
        dot[r] = __dp4a(codes, four, dot[r]);
        x_sum[r] = __dp4a(kOnes, four, x_sum[r]);
      }
    }
    const float scale = group_value(a.w, w, GroupValue::scale, output, first);
    const float minimum = a.w.has_minimum ? group_value(a.w, w, GroupValue::minimum, output, first) : 0;
    for (int r = 0; r < kRows; r++) {
      const float x_scale = reinterpret_cast<const Int8Group*>(tile.x[r])[k / kGroupColumns].scale;
      sums.of[r] = std::fma(static_cast<float>(dot[r] + missing * x_sum[r]), scale * x_scale, sums.of[r]);
      if (a.w.has_minimum) sums.of[r] = std::fma(minimum, x_scale * static_cast<float>(x_sum[r]), sums.of[r]);
    }
  }
  return sums;
}

template <ActivationForm kForm, int kRows>
__device__ Sums<kRows> unit_sum(const MatMul& a, const RowTile<kRows>& tile, int64_t n, int64_t begin, int64_t end) {
  if constexpr (kForm == ActivationForm::f32) return unit_f32(a, tile, n, begin, end);
  if constexpr (kForm == ActivationForm::bf16) return unit_bf16(a, tile, n, begin, end);
  if constexpr (kForm == ActivationForm::int8) return unit_int8(a, tile, n, begin, end);
}

// A block: 32 outputs of kRows rows. Warp w sums units w, w + 8, ...; then warp r runs the tree of row r.
template <ActivationForm kForm, int kRows>
__global__ void matmul_kernel(MatMul a, Units units) {
  static_assert(kRows <= kSlots);
  __shared__ float sums[kUnits][kRows][kOutputs];
  const int64_t panels = blocks_of(a.w.n, kOutputs), first_row = blockIdx.x / panels * kRows;
  const int64_t n = blockIdx.x % panels * kOutputs + lane(), row = first_row + warp();
  const bool holds_output = n < a.w.n, runs_tree = warp() < kRows && row < a.x.rows;
  RowTile<kRows> tile;
  for (int r = 0; r < kRows; r++) tile.x[r] = a.x.data + min(first_row + r, a.x.rows - 1) * a.x.row_bytes;

  float stack[kTreeDepth];
  int depth = 0;
  for (int first = 0; first < units.tree.nodes; first += kUnits) {
    const int end = min(first + kUnits, units.tree.nodes);
    for (int u = first + warp(); u < end && holds_output; u += kSlots) {
      const int64_t begin = int64_t{u} * units.columns;
      const int columns = u + 1 < units.tree.nodes ? units.columns : units.last_columns;
      const Sums<kRows> sum = unit_sum<kForm>(a, tile, n, begin, begin + columns);
      for (int r = 0; r < kRows; r++) sums[u - first][r][lane()] = sum.of[r];
    }
    __syncthreads();
    for (int u = first; u < end && runs_tree && holds_output; u++)
      push(stack, depth, sums[u - first][warp()][lane()], units.tree.pops[u]);
    __syncthreads();
  }
  if (!runs_tree || !holds_output) return;
  for (int root = 0; root < depth; root++) a.y[root * a.root_stride + row * a.y_stride + n] = stack[root];
}

template <ActivationForm kForm, int kRows>
void enqueue_tiles(const Launch& launch, const MatMul& a, const Units& units) {
  enqueue(launch, blocks_of(a.x.rows, kRows) * blocks_of(a.w.n, kOutputs), kThreads, matmul_kernel<kForm, kRows>, a,
          units);
}

// A row's chains do not know how many rows share the weights that pass.
template <ActivationForm kForm>
void enqueue_form(const Launch& launch, const MatMul& a, const Units& units) {
  if (a.x.rows == 1) return enqueue_tiles<kForm, 1>(launch, a, units);
  if (a.x.rows <= 4) return enqueue_tiles<kForm, 4>(launch, a, units);
  enqueue_tiles<kForm, 8>(launch, a, units);
}

void matmul(const Launch& launch, const MatMul& a) {
  const std::vector<int>& columns = a.contraction->columns;
  if (columns.empty()) return;
  const Units units{tree_of(a.contraction->program), columns.front(), columns.back()};
  switch (a.x.form) {
    case ActivationForm::f32:
      return enqueue_form<ActivationForm::f32>(launch, a, units);
    case ActivationForm::bf16:
      return enqueue_form<ActivationForm::bf16>(launch, a, units);
    case ActivationForm::int8:
      return enqueue_form<ActivationForm::int8>(launch, a, units);
  }
}

}  // namespace

void fill_matmul(Kernels& kernels) { kernels.matmul = matmul; }

}  // namespace trireme::cuda
