// Products with many rows, which are as fast as tensor cores multiply. A block has a tile of 128 outputs and 128 or 64
// rows and walks all units of the contraction, or, where tiles are few, those of a node of its tree (split.cuh); steps
// come through shared memory, where all its warps read them. A warp has 32 outputs and half of the rows. Units' sums
// run the tree in place: the newest stays in registers, those below it in shared memory, the deepest in y itself.
#include "kernels/cuda/split.cuh"
#include "kernels/cuda/step_copy.cuh"
#include "kernels/cuda/step_multiply.cuh"
#include "kernels/cuda/tile.cuh"

namespace trireme::cuda {

namespace {

constexpr int kSharedSums = 3;              // of an output, that wait in shared memory: with two in registers and one
constexpr int kHeldSums = kSharedSums + 2;  // in y enough for trees of 63 units

// Steps of a ring. 64 rows leave shared memory (163 KiB of sm_80) for many: there are few blocks then, and what each
// has under way is what they can draw from memory.
__host__ __device__ constexpr int ring_of_tile(PackedForm form, int rows) {
  if (rows == 64) return form == PackedForm::e4m3 ? 12 : in_pairs(form) ? 9 : 7;
  return form == PackedForm::q8 ? 2 : form == PackedForm::q4 || form == PackedForm::e4m3_groups ? 3 : 4;
}
// Sums of a thread that wait, the first kSharedSums of them in shared memory.
template <int kTiles>
struct Waiting {
  float* shared;  // [kSharedSums][kTiles * 8][kThreads]
  Place place;

  __device__ void put(int depth, const Sums<kTiles>& sums) const {
    const Place y_place = place.here();
    UNROLL
    for (int j = 0; j < kTiles * 8; j++) {
      const float sum = sums[j / 8][j / 4 % 2][j % 4];
      if (depth < kSharedSums)
        shared[(depth * kTiles * 8 + j) * kThreads + threadIdx.x] = sum;
      else if (float* y = y_place.at(0, j / 8, j / 4 % 2, j % 4))
        *y = sum;
    }
  }
  // sums = the waiting one + sums.
  __device__ void add(int depth, Sums<kTiles>& sums) const {
    const Place y_place = place.here();
    UNROLL
    for (int j = 0; j < kTiles * 8; j++) {
      float& sum = sums[j / 8][j / 4 % 2][j % 4];
      if (depth < kSharedSums)
        sum = shared[(depth * kTiles * 8 + j) * kThreads + threadIdx.x] + sum;
      else if (const float* y = y_place.at(0, j / 8, j / 4 % 2, j % 4))
        sum = *y + sum;
    }
  }
};

// Steps of a block's tile, as they come to its ring; and the warp's place in them.
template <PackedForm kForm, int kRows>
struct TileSteps {
  static constexpr int kRing = ring_of_tile(kForm, kRows), kTeam = kThreads / kTilePanels;  // threads that copy a panel
  static constexpr int kAhead = kRing - 1;                                                  // copies under way
  struct Operands {
    const std::byte *panel, *rows;
  };

  const Units& units;
  const StepShape& shape;
  std::byte* ring;
  int step, of_tile, half, at = 0;
  PanelCopy<kForm, kTeam> panel_copy;
  RowCopy<kForm, kRows, kThreads> row_copy;
  Steps<kForm> coming;

  __device__ TileSteps(const MatMul& a, const Gate& gate, const Units& all, const UnitRun& run,
                       const StepShape& of_step, int bytes, const TileIndex& tile, int64_t first_row)
      : units(all),
        shape(of_step),
        ring(block_memory()),
        step(bytes),
        of_tile(warp() % kTilePanels),
        half(warp() / kTilePanels),
        panel_copy(a.w, shape, panel_of(gate, tile.outputs, kTilePanels, copied()),
                   static_cast<int>(threadIdx.x) % kTeam),
        row_copy(a.x, first_row, static_cast<int>(threadIdx.x), all),
        coming(all, run.first, 1, run.last) {
    Steps<kForm> early = coming;  // weights, which nobody writes
    for (int i = 0; i < kAhead && !early.done(); i++, early.next()) copy_weights(early, ring + i * step);
    wait_for_earlier();
    for (int i = 0; i < kAhead; i++) copy_rows(ring + i * step);
  }

  // The warp's operands of the next step; past the last one anything.
  __device__ Operands next() {
    wait_for_copies<kAhead - 1>();
    __syncthreads();  // all copies of this step are here, and nobody reads what the next ones fall on any more
    copy_next(ring + (at + kAhead < kRing ? at + kAhead : at + kAhead - kRing) * step);
    const std::byte* now = ring + at * step;
    at = at + 1 < kRing ? at + 1 : 0;
    return {now + of_tile * shape.panel,
            now + kTilePanels * shape.panel + half * kRows / 2 * row_pieces(kForm) * kPiece};
  }

 private:
  __device__ static int copied() { return static_cast<int>(threadIdx.x) / kTeam; }
  __device__ void copy_weights(const Steps<kForm>& of, std::byte* to) const {
    panel_copy.copy(of.k, of.end, to + copied() * shape.panel);
  }
  __device__ void copy_rows(std::byte* to) {
    if (!coming.done()) {
      row_copy.copy(coming.k, coming.end, to + kTilePanels * shape.panel);
      coming.next();
    }
    end_copies();
  }
  __device__ void copy_next(std::byte* to) {
    if (!coming.done()) copy_weights(coming, to);
    copy_rows(to);
  }
};

template <int kTiles>
__device__ void write_roots(const Waiting<kTiles>& waiting, int depth, Sums<kTiles>& newest) {
  for (int root = depth;; root--) {
    const Place place = waiting.place.here();
    UNROLL
    for (int j = 0; j < kTiles * 8; j++)
      if (float* y = place.at(root, j / 8, j / 4 % 2, j % 4))
        *y = with_bias(place.a, place.output(j / 4 % 2, j % 4), newest[j / 8][j / 4 % 2][j % 4]);
    if (root == 0) return;
    UNROLL
    for (int j = 0; j < kTiles * 8; j++)
      newest[j / 8][j / 4 % 2][j % 4] = waiting.shared[((root - 1) * kTiles * 8 + j) * kThreads + threadIdx.x];
  }
}

template <PackedForm kForm, int kRows>
__global__ void __launch_bounds__(kThreads, 1)
    tile_matmul_kernel(MatMul a, Gate gate, Units units, Split split, StepShape shape, int step, int row_tiles) {
  constexpr int kTiles = kRows / 2 / kTensorRows;
  const int tile_number = static_cast<int>(blockIdx.x / static_cast<unsigned>(split.parts));
  const int part = static_cast<int>(blockIdx.x % static_cast<unsigned>(split.parts));
  const TileIndex tile = tile_of(tile_number, row_tiles, output_tiles(a));
  const int first_row = static_cast<int>(first_row_of(a, tile.rows, kRows));
  if (first_row < 0) return;
  const UnitRun run = units_of_part(split, units.tree.nodes, part);
  TileSteps<kForm, kRows> steps(a, gate, units, run, shape, step, tile, first_row);
  const int my_panel = static_cast<int>(panel_of(gate, tile.outputs, kTilePanels, steps.of_tile));
  const int my_row = first_row + steps.half * kRows / 2;
  const bool exists = int64_t{my_panel} * kPanel < a.w.n;
  const Waiting<kTiles> waiting{reinterpret_cast<float*>(steps.ring + steps.kRing * step),
                                {a, my_row + lane() % 4 * 2, my_panel * kPanel + lane() / 4 * 4}};

  Sums<kTiles> newest = {};  // that waits for a right neighbour, where `has_newest`
  bool has_newest = false;
  int depth = 0;
  for (int u = run.first; u < run.last; u++) {
    if (u + 1 == run.last) let_next_begin();
    Sums<kTiles> sums = {};
    const float4 scales = exists ? unit_scales<kForm>(a.w, shape, my_panel, units.begin(u)) : float4{};
    for (int k = units.begin(u); k < units.end(u); k += step_columns(kForm)) {
      const auto operands = steps.next();
      multiply<kForm, kTiles>(a.w, shape, operands.panel, operands.rows, sums);
    }
    scale_unit<kForm, kTiles>(scales, sums);
    for (int pops = units.tree.pops[u]; pops > 0; pops--) {
      if (!has_newest && depth == 0) break;  // a part's last unit: the others' sums are not here
      if (!has_newest) {
        waiting.add(--depth, sums);
        continue;
      }
      has_newest = false;
      UNROLL
      for (int j = 0; j < kTiles * 8; j++)
        sums[j / 8][j / 4 % 2][j % 4] = newest[j / 8][j / 4 % 2][j % 4] + sums[j / 8][j / 4 % 2][j % 4];
    }
    if (has_newest) waiting.put(depth++, newest);
    has_newest = true;
    UNROLL
    for (int j = 0; j < kTiles * 8; j++) newest[j / 8][j / 4 % 2][j % 4] = sums[j / 8][j / 4 % 2][j % 4];
  }
  if (split.parts > 1 && !join_parts<kTiles * 8>(split, tile_number, part, [&newest](int j) -> float& {
        return newest[j / 8][j / 4 % 2][j % 4];
      }))
    return;
  if (gate.panels == 0) return write_roots<kTiles>(waiting, depth, newest);
  __syncthreads();  // nobody's sums wait there any more
  put_sums<kTiles>(newest, waiting.shared + steps.half * kRows / 2 * kSumsStride + steps.of_tile * kPanel, kSumsStride);
  __syncthreads();
  gate_rows<kRows>(a, gate, first_row, tile.outputs, waiting.shared);
}

template <PackedForm kForm, int kRows>
bool enqueue_tile(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  const StepShape shape = step_shape(a.w);
  const int step = shape.step(kTilePanels, kRows, row_pieces(kForm));
  const int64_t shared = ring_of_tile(kForm, kRows) * step + kSharedSums * sums_bytes<kRows>();
  if (shared > most_shared()) return false;
  const int64_t row_count = row_tiles(a, kRows), tiles = row_count * output_tiles(a);
  const Split split = a.experts.ends.empty()
                          ? split_of(launch, tiles, sums_bytes<kRows>(), units, a.contraction->program.roots)
                          : Split{};
  enqueue_shared(launch, tiles * split.parts, kThreads, shared, tile_matmul_kernel<kForm, kRows>, a, gate, units, split,
                 shape, step, static_cast<int>(row_count));
  return true;
}

template <PackedForm kForm>
bool enqueue_tile_form(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  if (rows_of_matrix(a) > 64 && enqueue_tile<kForm, 128>(launch, a, gate, units)) return true;
  return enqueue_tile<kForm, 64>(launch, a, gate, units);
}

}  // namespace

bool tile_matmul(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  if (!sums_fit(a, units, kHeldSums)) return false;
  return by_form(a.w.form, [&](auto form) { return enqueue_tile_form<form()>(launch, a, gate, units); });
}

}  // namespace trireme::cuda
