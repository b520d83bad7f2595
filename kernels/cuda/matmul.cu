// Products of rows with packed weights. A warp sums one unit of the contraction for 32 outputs and a few rows, the
// chains being the reference's (kernels/cpu/reference_matmul.cpp) in FP32 and INT8; BF16 and E4M3 go through tensor
// cores. The units' sums meet in shared memory, where their tree runs.
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

namespace {

constexpr int kOutputs = kWarp;           // of a block
constexpr int kSlots = kThreads / kWarp;  // units that a block sums at a time

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

template <typename Byte>
__device__ unsigned four_bytes(const Byte* at) {
  return *reinterpret_cast<const unsigned*>(at);
}

// Codes of four columns of one output.
__device__ unsigned stored_codes(const PackedView& w, const std::byte* group, int output, int i) {
  const unsigned word = four_bytes(group + code_offset(w.form, output, i));
  return w.form == PackedForm::q4 ? word >> nibble_shift(i) & 0x0f0f0f0fu : word;
}
// As signed bytes: those of 8 bits less 128.
__device__ int codes_of(const PackedView& w, const std::byte* group, int output, int i) {
  return static_cast<int>(stored_codes(w, group, output, i) ^ (w.form == PackedForm::q4 ? 0 : 0x80808080u));
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

constexpr int kTensorRows = 8;  // that tensor cores take at a time

// The row of x at `of_tile` of a tile that begins at `row`: past the end it is the last one again.
__device__ const std::byte* row_of(const Activations& x, int64_t row, int of_tile) {
  return x.data + min(row + of_tile, x.rows - 1) * x.row_bytes;
}

// Two columns of an output as BF16, the even one (k) below.
__device__ unsigned bf16_pair(const PackedView& w, int64_t n, int64_t k) {
  if (w.form == PackedForm::bf16) return four_bytes(reinterpret_cast<const BF16*>(w.data) + bf16_index(w, n, k));
  const unsigned even = std::bit_cast<unsigned>(to_float(e4m3_code(w, n, k))),
                 odd = std::bit_cast<unsigned>(to_float(e4m3_code(w, n, k + 1)));
  return even >> 16 | (odd & 0xffff0000u);  // exact
}

// A warp: a unit of 32 outputs and kRows rows, 16 columns at a time. What a lane holds of a product's operands is PTX's
// m16n8k16: its quad names an output (a row of x), its place in the quad pairs of columns; of the result, two outputs
// and two rows of x.
template <int kRows>
__device__ void tensor_unit_bf16(const MatMul& a, int64_t output, int64_t row, int64_t begin, int64_t end,
                                 float (&out)[kRows][kOutputs]) {
  constexpr int kTiles = kRows / kTensorRows;
  const int quad = lane() / 4, member = lane() % 4;
  float sums[2][kTiles][4] = {};  // of 16 outputs each
  for (int64_t k = begin; k < end; k += 16) {
    const int64_t first = k + 2 * member, second = first + 8;
    unsigned weights[2][4];
    UNROLL
    for (int i = 0; i < 8; i++) {
      const int64_t column = i % 4 < 2 ? first : second;
      weights[i / 4][i % 4] = column < end ? bf16_pair(a.w, output + i / 4 * 16 + i % 2 * 8 + quad, column) : 0;
    }
    UNROLL
    for (int t = 0; t < kTiles; t++) {
      const BF16* x = reinterpret_cast<const BF16*>(row_of(a.x, row, t * kTensorRows + quad));
      const unsigned pairs[2] = {first < end ? four_bytes(x + first) : 0, second < end ? four_bytes(x + second) : 0};
      UNROLL
      for (int h = 0; h < 2; h++) tensor_multiply(weights[h], pairs, sums[h][t]);
    }
  }
  UNROLL
  for (int t = 0; t < kTiles; t++)
    UNROLL
    for (int h = 0; h < 2; h++)
      UNROLL
      for (int i = 0; i < 4; i++) {
        const int of_panel = h * 16 + i / 2 * 8 + quad;
        const float scale = a.w.form == PackedForm::e4m3 ? e4m3_scale(a.w, output + of_panel, begin) : 1;
        out[t * kTensorRows + 2 * member + i % 2][of_panel] = sums[h][t][i] * scale;
      }
}

// The same of codes and INT8, 32 columns at a time: m16n8k32. Its integers are as exact as ours, so that the bits are the
// same.
template <int kRows>
__device__ void tensor_unit_int8(const MatMul& a, int64_t output, int64_t row, int64_t begin, int64_t end,
                                 float (&out)[kRows][kOutputs]) {
  constexpr int kTiles = kRows / kTensorRows;
  constexpr unsigned kOnes[4] = {0x01010101, 0x01010101, 0x01010101, 0x01010101};
  const int quad = lane() / 4, member = lane() % 4, zero = a.w.has_minimum ? 0 : a.w.zero;
  auto x_group = [&](int of_tile, int64_t k) -> const Int8Group& {
    return reinterpret_cast<const Int8Group*>(row_of(a.x, row, of_tile))[k / kGroupColumns];
  };
  end = blocks_of(end, kGroupColumns) * kGroupColumns;  // the last group is padded with zeros
  float sums[2][kTiles][4] = {};                        // of 16 outputs each
  for (int64_t k = begin; k < end; k += a.w.scale_columns) {
    const std::byte* w = group_data(a.w, output, k);
    const int first = static_cast<int>(k % kGroupColumns), column = first + 4 * member;
    unsigned codes[2][4] = {};
    UNROLL
    for (int i = 0; i < 8; i++)
      if (i % 4 < 2 || a.w.scale_columns == 32)
        codes[i / 4][i % 4] = stored_codes(a.w, w, i / 4 * 16 + i % 2 * 8 + quad, column + i % 4 / 2 * 16);
    UNROLL
    for (int t = 0; t < kTiles; t++) {
      const Int8Group& x = x_group(t * kTensorRows + quad, k);
      const unsigned x_codes[2] = {four_bytes(x.code + column),
                                   a.w.scale_columns == 32 ? four_bytes(x.code + column + 16) : 0};
      int x_sum[4] = {};
      tensor_multiply(kOnes, x_codes, x_sum);
      const float x_scale[2] = {x_group(t * kTensorRows + 2 * member, k).scale,
                                x_group(t * kTensorRows + 2 * member + 1, k).scale};
      UNROLL
      for (int h = 0; h < 2; h++) {
        int dot[4] = {};
        tensor_multiply(codes[h], x_codes, dot);
        UNROLL
        for (int i = 0; i < 4; i++) {
          const int of_panel = h * 16 + i / 2 * 8 + quad;
          const float scale = group_value(a.w, w, GroupValue::scale, of_panel, first);
          float& sum = sums[h][t][i];
          sum = std::fma(static_cast<float>(dot[i] - zero * x_sum[i]), scale * x_scale[i % 2], sum);
          if (a.w.has_minimum)
            sum = std::fma(group_value(a.w, w, GroupValue::minimum, of_panel, first),
                           x_scale[i % 2] * static_cast<float>(x_sum[i]), sum);
        }
      }
    }
  }
  UNROLL
  for (int t = 0; t < kTiles; t++)
    UNROLL
    for (int h = 0; h < 2; h++)
      UNROLL
      for (int i = 0; i < 4; i++)
        out[t * kTensorRows + 2 * member + i % 2][h * 16 + i / 2 * 8 + quad] = sums[h][t][i];
}

// A unit's sums of 32 outputs, by a warp.
template <ActivationForm kForm, int kRows>
__device__ void unit_sums(const MatMul& a, int64_t output, int64_t row, int64_t begin, int64_t end,
                          float (&out)[kRows][kOutputs]) {
  if constexpr (kForm == ActivationForm::bf16) {
    tensor_unit_bf16(a, output, row, begin, end, out);
  } else if constexpr (kForm == ActivationForm::int8 && kRows >= kTensorRows) {
    tensor_unit_int8(a, output, row, begin, end, out);
  } else {
    const int64_t n = output + lane();
    if (n >= a.w.n) return;
    RowTile<kRows> tile;
    for (int r = 0; r < kRows; r++) tile.x[r] = row_of(a.x, row, r);
    Sums<kRows> sum;
    if constexpr (kForm == ActivationForm::f32) sum = unit_f32(a, tile, n, begin, end);
    if constexpr (kForm == ActivationForm::int8) sum = unit_int8(a, tile, n, begin, end);
    for (int r = 0; r < kRows; r++) out[r][lane()] = sum.of[r];
  }
}

// A block: 32 outputs of kRows rows. Warp w sums units w, w + 8, ...; then it runs the trees of rows w, w + 8, ...
template <ActivationForm kForm, int kRows>
__global__ void matmul_kernel(MatMul a, Units units) {
  constexpr int kUnits = kRows <= kSlots ? 32 : 8;  // whose sums wait for the tree: 32 KiB
  constexpr int kTrees = (kRows + kSlots - 1) / kSlots;
  __shared__ float sums[kUnits][kRows][kOutputs];
  const int64_t panels = blocks_of(a.w.n, kOutputs), first_row = blockIdx.x / panels * kRows;
  const int64_t output = blockIdx.x % panels * kOutputs, n = output + lane();

  float stack[kTrees][kTreeDepth];
  int depth[kTrees] = {};
  for (int first = 0; first < units.tree.nodes; first += kUnits) {
    const int end = min(first + kUnits, units.tree.nodes);
    for (int u = first + warp(); u < end; u += kSlots) {
      const int64_t begin = int64_t{u} * units.columns;
      const int columns = u + 1 < units.tree.nodes ? units.columns : units.last_columns;
      unit_sums<kForm, kRows>(a, output, first_row, begin, begin + columns, sums[u - first]);
    }
    __syncthreads();
    for (int t = 0; t < kTrees; t++)
      for (int u = first; u < end && t * kSlots + warp() < kRows; u++)
        push(stack[t], depth[t], sums[u - first][t * kSlots + warp()][lane()], units.tree.pops[u]);
    __syncthreads();
  }
  for (int t = 0; t < kTrees; t++) {
    const int64_t row = first_row + t * kSlots + warp();
    if (t * kSlots + warp() >= kRows || row >= a.x.rows || n >= a.w.n) continue;
    for (int root = 0; root < depth[t]; root++) a.y[root * a.root_stride + row * a.y_stride + n] = stack[t][root];
  }
}

template <ActivationForm kForm, int kRows>
void enqueue_tiles(const Launch& launch, const MatMul& a, const Units& units) {
  enqueue(launch, blocks_of(a.x.rows, kRows) * blocks_of(a.w.n, kOutputs), kThreads, matmul_kernel<kForm, kRows>, a,
          units);
}

// A row's sums do not know how many rows share the weights that pass. BF16 has one order, that of tensor cores, so that
// few rows take them, too.
template <ActivationForm kForm>
void enqueue_form(const Launch& launch, const MatMul& a, const Units& units) {
  if constexpr (kForm != ActivationForm::bf16) {
    if (a.x.rows == 1) return enqueue_tiles<kForm, 1>(launch, a, units);
    if (a.x.rows <= 4) return enqueue_tiles<kForm, 4>(launch, a, units);
  }
  if (a.x.rows <= 8 || kForm == ActivationForm::f32) return enqueue_tiles<kForm, 8>(launch, a, units);
  if constexpr (kForm != ActivationForm::f32) enqueue_tiles<kForm, 32>(launch, a, units);
}

void matmul(const Launch& launch, const MatMul& a) {
  const std::vector<int>& columns = a.contraction->columns;
  if (columns.empty()) return;
  must(a.w.form != PackedForm::bf16_rows, "plain rows are multiplied by a library");
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
