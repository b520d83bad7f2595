// Products with few rows, which are as fast as weights come from memory. A block has 32 or 64 outputs, each of its
// warps every eighth unit of the contraction; the units' sums meet in shared memory, where their tree runs.
//
// A warp keeps copies of the next steps under way while it multiplies, in a ring of its own: no other warp waits for it
// within a unit. Little's law says how many bytes must be under way: docs/cuda.md. Weights, which nobody writes, come
// to the ring while what makes x is still at work.
#include "kernels/cuda/matmul.cuh"
#include "kernels/cuda/step_copy.cuh"
#include "kernels/cuda/step_multiply.cuh"

namespace trireme::cuda {

namespace {

constexpr int kStreams = kThreads / kWarp;  // warps of a block, and units that it sums at a time

// Steps that a ring holds, one of them in use. With one panel every GPU of sm_80 and later has the shared memory
// (99 KiB), with two panels and 32 rows sm_90 (227 KiB). Deep ones are for blocks so few that each has to have twice as
// much under way.
__host__ __device__ constexpr int ring_steps(PackedForm form, int panels, bool deep) {
  const bool two = panels == 2;
  const int times = deep ? 2 : 1;
  switch (form) {
    case PackedForm::bf16:
    case PackedForm::f16_pairs:
      return times * (two ? 4 : 6);
    case PackedForm::e4m3:
      return times * (two ? 4 : 8);
    case PackedForm::q8:
      return times * (two ? 3 : 5);
    case PackedForm::e4m3_groups:
      return times * (two ? 3 : 7);
    default:
      return times * (two ? 4 : 7);
  }
}
// Floats from one row of a unit's sums to the next: 4 more, so that the four lanes of a quad write to different banks.
__host__ __device__ constexpr int sums_stride(int panels) { return panels * kPanel + 4; }

// Of shared memory, in this order: rings, sums that wait for the tree, its stacks.
struct Places {
  StepShape shape;
  int step, ring;
  int64_t sums, stacks;
};
template <PackedForm kForm, int kPanels, int kRows, bool kDeep>
Places places_of(const PackedView& w, const Units& units) {
  const StepShape shape = step_shape(w);
  const int step = shape.step(kPanels, kRows, row_pieces(kForm));
  return {shape, step, ring_steps(kForm, kPanels, kDeep) * step, int64_t{kStreams} * kRows * sums_stride(kPanels) * 4,
          int64_t{units.max_depth} * kRows * kPanels * kPanel * 4};
}

// Pushes units [first, last) of an output and row: their sums stand `apart` floats behind each other, the tree's open
// sums likewise. Gives the new depth.
__device__ int push_units(const Tree& tree, int first, int last, const float* sums, int apart, float* stack,
                          int stack_apart, int depth) {
  for (int u = first; u < last; u++, sums += apart) {
    float sum = *sums;
    for (int pops = tree.pops[u]; pops > 0; pops--) sum = stack[--depth * stack_apart] + sum;
    stack[depth++ * stack_apart] = sum;
  }
  return depth;
}

// The roots that a block's stacks hold, [roots][kRows][outputs], of the rows within x.
template <int kPanels, int kRows>
__device__ void write_rows(const MatMul& a, const Gate& gate, int64_t block, int64_t first_row, int within, int roots,
                           const float* stacks) {
  constexpr int kOutputs = kPanels * kPanel;
  if (kPanels == 2 && gate.panels > 0) {
    for (int row = warp(); row < within; row += kStreams) {
      const float* sums = stacks + row * kOutputs + lane();
      put_gated(a, gate, first_row + row, block * kPanel + lane(), sums[0], sums[kOutputs - kPanel]);
    }
    return;
  }
  for (int item = warp(); item < within * kPanels; item += kStreams) {
    const int row = item / kPanels, p = item % kPanels;
    const int64_t n = panel_of(gate, block, kPanels, p) * kPanel + lane();
    if (n >= a.w.n) continue;
    for (int root = 0; root < roots; root++)
      a.y[root * a.root_stride + (first_row + row) * a.y_stride + n] =
          with_bias(a, n, stacks[(root * kRows + row) * kOutputs + p * kPanel + lane()]);
  }
}

template <PackedForm kForm, int kPanels, int kRows, bool kDeep>
__global__ void __launch_bounds__(kThreads, kRows == kTensorRows ? 2 : 1)
    stream_matmul_kernel(MatMul a, Gate gate, Units units, Places places) {
  constexpr int kTiles = kRows / kTensorRows, kRing = ring_steps(kForm, kPanels, kDeep);
  constexpr int kStride = sums_stride(kPanels), kOutputs = kPanels * kPanel;
  const int64_t groups = blocks_of(a.w.n, kOutputs), block = blockIdx.x % groups;
  const int64_t first_row = first_row_of(a, blockIdx.x / groups, kRows);
  if (first_row < 0) return;
  int64_t panels[kPanels];
  UNROLL
  for (int p = 0; p < kPanels; p++) panels[p] = panel_of(gate, block, kPanels, p);
  const int step = places.step, panel = places.shape.panel;
  const int within = static_cast<int>(min(int64_t{kRows}, a.x.rows - first_row));
  std::byte* ring = block_memory() + warp() * places.ring;
  float* waiting = reinterpret_cast<float*>(block_memory() + kStreams * places.ring);  // [kStreams][kRows][kStride]
  float* stacks = waiting + places.sums / 4;                                           // [depth][kRows][kOutputs]

  const PanelCopy<kForm, kWarp> first_copy(a.w, places.shape, panels[0], lane());
  const PanelCopy<kForm, kWarp> second_copy(a.w, places.shape, panels[kPanels - 1], lane());
  const RowCopy<kForm, kRows, kWarp> row_copy(a.x, first_row, lane(), units);
  auto copy_weights = [&](const Steps<kForm>& of, std::byte* to) {
    first_copy.copy(of.k, of.end, to);
    if constexpr (kPanels == 2) second_copy.copy(of.k, of.end, to + panel);
  };
  Steps<kForm> coming(units, warp(), kStreams, units.tree.nodes), early = coming;
  auto copy_rows = [&](std::byte* to) {
    if (!coming.done()) {
      row_copy.copy(coming.k, coming.end, to + kPanels * panel);
      coming.next();
    }
    end_copies();
  };
  auto copy_next = [&](std::byte* to) {
    if (!coming.done()) copy_weights(coming, to);
    copy_rows(to);
  };
  for (int i = 0; i < kRing - 1 && !early.done(); i++, early.next()) copy_weights(early, ring + i * step);
  wait_for_earlier();
  for (int i = 0; i < kRing - 1; i++) copy_rows(ring + i * step);

  int at = 0, depth = 0;  // step of the ring in use; of the trees
  for (int first = 0; first < units.tree.nodes; first += kStreams) {
    const int last = min(first + kStreams, units.tree.nodes);
    if (last == units.tree.nodes) let_next_begin();
    if (const int u = first + warp(); u < last) {
      Sums<kTiles> sums[kPanels] = {};
      float4 scales[kPanels];
      UNROLL
      for (int p = 0; p < kPanels; p++)
        scales[p] =
            panels[p] * kPanel < a.w.n ? unit_scales<kForm>(a.w, places.shape, panels[p], units.begin(u)) : float4{};
      for (int k = units.begin(u); k < units.end(u); k += step_columns(kForm)) {
        wait_for_copies<kRing - 2>();
        __syncwarp();  // all lanes' copies are here, and nobody reads the step before this one any more
        copy_next(ring + (at == 0 ? kRing - 1 : at - 1) * step);
        UNROLL
        for (int p = 0; p < kPanels; p++)
          multiply<kForm, kTiles>(a.w, places.shape, ring + at * step + p * panel, ring + at * step + kPanels * panel,
                                  sums[p]);
        at = at + 1 < kRing ? at + 1 : 0;
      }
      UNROLL
      for (int p = 0; p < kPanels; p++) {
        scale_unit<kForm, kTiles>(scales[p], sums[p]);
        put_sums<kTiles>(sums[p], waiting + warp() * kRows * kStride + p * kPanel, kStride);
      }
    }
    __syncthreads();
    int deeper = depth;
    for (int item = warp(); item < within * kPanels; item += kStreams) {
      const int row = item / kPanels, output = item % kPanels * kPanel + lane();
      deeper = push_units(units.tree, first, last, waiting + row * kStride + output, kRows * kStride,
                          stacks + row * kOutputs + output, kRows * kOutputs, depth);
    }
    depth = deeper;
    __syncthreads();
  }
  write_rows<kPanels, kRows>(a, gate, block, first_row, within, depth, stacks);
}

template <PackedForm kForm, int kPanels, int kRows, bool kDeep = false>
bool enqueue_stream(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  const Places places = places_of<kForm, kPanels, kRows, kDeep>(a.w, units);
  const int64_t shared = int64_t{kStreams} * places.ring + places.sums + places.stacks;
  if (shared > most_shared()) return false;
  enqueue_shared(launch, row_tiles(a, kRows) * blocks_of(a.w.n, kPanels * kPanel), kThreads, shared,
                 stream_matmul_kernel<kForm, kPanels, kRows, kDeep>, a, gate, units, places);
  return true;
}

constexpr int64_t kManyOutputs = 16384;  // whose blocks of 64 are enough for all SMs

// More rows, more outputs beside them: all blocks read all rows, from L2. But weights that take many instructions to
// decode want all SMs, so that a narrow layer's blocks stay small. A block that gates has two panels; where such ones
// would be too large, nothing gates.
template <PackedForm kForm>
bool enqueue_stream_form(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  constexpr bool kQuick = in_pairs(kForm) || kForm == PackedForm::e4m3_groups;
  const bool gates = gate.panels > 0;
  const int64_t rows = rows_of_matrix(a);
  if (gates && !kQuick && a.w.n < kManyOutputs && rows <= 16) return false;
  const bool wide = a.w.n >= kManyOutputs || gates;
  const auto are_few = [&](int panels) { return row_tiles(a, 16) * blocks_of(a.w.n, panels * kPanel) <= kSms / 2; };
  if (rows > 16 && enqueue_stream<kForm, 2, 32>(launch, a, gate, units)) return true;
  if constexpr (!in_pairs(kForm))
    if (rows > 8 && !wide && enqueue_stream<kForm, 1, 16>(launch, a, gate, units)) return true;
  if constexpr (in_pairs(kForm))
    if (rows > 8 && are_few(2) && enqueue_stream<kForm, 2, 16, true>(launch, a, gate, units)) return true;
  if (rows > 8 && enqueue_stream<kForm, 2, 16>(launch, a, gate, units)) return true;
  if (wide && enqueue_stream<kForm, 2, 8>(launch, a, gate, units)) return true;
  if (gates) return false;
  if (are_few(1) && enqueue_stream<kForm, 1, 8, true>(launch, a, gate, units)) return true;
  return enqueue_stream<kForm, 1, 8>(launch, a, gate, units);
}

}  // namespace

bool stream_matmul(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  return by_form(a.w.form, [&](auto form) { return enqueue_stream_form<form()>(launch, a, gate, units); });
}

}  // namespace trireme::cuda
