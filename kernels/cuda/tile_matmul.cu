// Products with many rows, which are as fast as tensor cores multiply. A block has a tile of 128 outputs and 128 or 64
// rows and walks all units of the contraction, or, where tiles are few, those of a node of its tree (split.cuh); steps
// come through shared memory, where all its warps read them. A warp has 32 outputs and half of the rows; four warps,
// with all outputs, may multiply as a warpgroup. Units' sums run the tree in place: the newest stays in registers,
// those below it in shared memory, the deepest in y itself.
#include "kernels/cuda/matmul.cuh"
#include "kernels/cuda/split.cuh"
#include "kernels/cuda/step_copy.cuh"
#include "kernels/cuda/warpgroup.cuh"

namespace trireme::cuda {

namespace {

constexpr int kTilePanels = 4;
constexpr int kSharedSums = 3;  // sums of an output that wait in shared memory: with two in registers and one
constexpr int kMostSums = kSharedSums + 3;  // in y enough for trees of 32 units
// Columns ahead of the copied ones that L2 is asked for: two steps under way are too few to wait for memory.
constexpr int kFetchedAhead = 128;
constexpr int kRowTilesTogether = 8;  // that blocks take beside each other: these rows and weights fit L2

// Steps of a ring. 64 rows leave shared memory (163 KiB of sm_80) for many: there are few blocks then, and what each
// has under way is what they can draw from memory.
__host__ __device__ constexpr int ring_of_tile(PackedForm form, int rows) {
  if (rows == 64) return form == PackedForm::e4m3 ? 12 : form == PackedForm::bf16 ? 9 : 7;
  return form == PackedForm::q8 ? 2 : form == PackedForm::q4 || form == PackedForm::e4m3_groups ? 3 : 4;
}
template <int kRows>
constexpr int64_t sums_bytes() {
  return int64_t{kRows} * kTilePanels * kPanel * sizeof(float);
}

// Where a thread's sums of a tile end: y or, past y's edges, nowhere.
struct Place {
  const MatMul& a;
  int64_t row, n;  // of sums[0][0][0]

  // The same, of which the compiler knows nothing: else it keeps all addresses in registers from the start.
  __device__ Place here() const {
    Place place = *this;
#ifdef __CUDACC__
    asm volatile("" : "+l"(place.row), "+l"(place.n));
#endif
    return place;
  }
  __device__ int64_t output(int h, int i) const { return n + 2 * h + i / 2; }
  __device__ float* at(int root, int tile, int h, int i) const {
    const int64_t r = row + tile * kTensorRows + i % 2;
    return r < a.x.rows && output(h, i) < a.w.n ? a.y + root * a.root_stride + r * a.y_stride + output(h, i) : nullptr;
  }
};

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

// Block i's tile: rows of kRowTilesTogether tiles first, then outputs, then the next rows.
struct TileIndex {
  int64_t rows, outputs;
};
__device__ TileIndex tile_of(int64_t i, int64_t row_tiles, int64_t output_tiles) {
  const int64_t band = i / (kRowTilesTogether * output_tiles), first = band * kRowTilesTogether;
  const int64_t height = min(int64_t{kRowTilesTogether}, row_tiles - first), of_band = i - first * output_tiles;
  return {first + of_band % height, of_band / height};
}

// Steps of a block's tile, as they come to its ring; and the warp's place in them.
template <PackedForm kForm, int kRows, By kBy>
struct TileSteps {
  static constexpr int kRing = ring_of_tile(kForm, kRows), kTeam = kThreads / kTilePanels;  // threads that copy a panel
  // Copies under way. Warpgroups still read the step before while these begin.
  static constexpr int kAhead = kRing - (kBy == By::warpgroups ? 2 : 1);
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
    if constexpr (kBy == By::warpgroups) wait_for_products<1>();
    wait_for_copies<kAhead - 1>();
    if constexpr (kBy == By::warpgroups) show_copies_to_products();
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
    if constexpr (kBy == By::warpgroups) panel_copy.prefetch(of.k + kFetchedAhead);
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

// Sums of one unit after the other. By warps: a step is multiplied when it is here.
template <PackedForm kForm, int kRows, By kBy>
struct UnitSums {
  static constexpr int kTiles = kRows / 2 / kTensorRows;
  const MatMul& a;
  TileSteps<kForm, kRows, kBy>& steps;

  __device__ void begin() {}
  __device__ void add(int u, Sums<kTiles>& sums) {
    for (int k = steps.units.begin(u); k < steps.units.end(u); k += step_columns(kForm)) {
      const auto operands = steps.next();
      multiply<kForm, kTiles>(a.w, steps.shape, operands.panel, operands.rows, sums);
    }
  }
};

// By warpgroups: while a step is multiplied, the weights of the next one are loaded.
template <PackedForm kForm, int kRows>
struct UnitSums<kForm, kRows, By::warpgroups> {
  static constexpr int kTiles = kRows / 2 / kTensorRows;
  const MatMul& a;
  TileSteps<kForm, kRows, By::warpgroups>& steps;
  const std::byte* rows = nullptr;
  unsigned even[2][4] = {}, odd[2][4] = {};  // weights of this step and of the next one, by turns

  __device__ void begin() { load_next(even); }
  __device__ void add(int u, Sums<kTiles>& sums) {
    const int begin = steps.units.begin(u), end = steps.units.end(u);
    fence_sums<kTiles>(sums);
    for (int k = begin; k < end; k += 2 * step_columns(kForm)) {
      take(even, odd, sums);
      if (k + step_columns(kForm) < end) take(odd, even, sums);
    }
    wait_for_products<0>();
    fence_sums<kTiles>(sums);
    if (blocks_of(end - begin, step_columns(kForm)) % 2 == 1) {
      UNROLL
      for (int i = 0; i < 8; i++) even[i / 4][i % 4] = odd[i / 4][i % 4];
    }
  }

 private:
  __device__ void load_next(unsigned (&weights)[2][4]) {
    const auto operands = steps.next();
    rows = operands.rows;
    load_panel<kForm>(operands.panel, weights);
  }
  __device__ void take(unsigned (&weights)[2][4], unsigned (&next)[2][4], Sums<kTiles>& sums) {
    begin_products(weights);
    UNROLL
    for (int h = 0; h < 2; h++) enqueue_product<kTiles>(weights[h], rows_descriptor(rows), h, sums);
    end_products();
    load_next(next);
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

// Gate and up of a row are in different warps' registers: they meet in shared memory.
template <int kRows, int kTiles>
__device__ void write_gated(const MatMul& a, const Gate& gate, int64_t first_row, int64_t outputs, int of_tile,
                            int half, const Sums<kTiles>& sums, float* shared) {
  constexpr int kStride = kTilePanels * kPanel + 4, kGates = kTilePanels / 2;
  __syncthreads();  // nobody's sums wait there any more
  put_sums<kTiles>(sums, shared + half * kRows / 2 * kStride + of_tile * kPanel, kStride);
  __syncthreads();
  for (int item = warp(); item < kRows * kGates; item += kThreads / kWarp) {
    const int of_rows = item / kGates, panel = item % kGates;
    const int64_t row = first_row + of_rows, column = (outputs * kGates + panel) * kPanel + lane();
    const float* both = shared + of_rows * kStride + panel * kPanel + lane();
    if (row < a.x.rows && column < gate.panels * kPanel)
      put_gated(a, gate, row, column, both[0], both[kGates * kPanel]);
  }
}

template <PackedForm kForm, int kRows, By kBy>
__global__ void __launch_bounds__(kThreads, 1)
    tile_matmul_kernel(MatMul a, Gate gate, Units units, Split split, StepShape shape, int step, int64_t row_tiles) {
  constexpr int kTiles = kRows / 2 / kTensorRows;
  const int64_t tile_number = blockIdx.x / static_cast<unsigned>(split.parts);
  const int part = static_cast<int>(blockIdx.x % static_cast<unsigned>(split.parts));
  const TileIndex tile = tile_of(tile_number, row_tiles, blocks_of(a.w.n, kTilePanels * kPanel));
  const int64_t first_row = first_row_of(a, tile.rows, kRows);
  if (first_row < 0) return;
  const UnitRun run = units_of_part(split, units.tree.nodes, part);
  TileSteps<kForm, kRows, kBy> steps(a, gate, units, run, shape, step, tile, first_row);
  const int64_t my_panel = panel_of(gate, tile.outputs, kTilePanels, steps.of_tile);
  const int64_t my_row = first_row + steps.half * kRows / 2;
  const bool exists = my_panel * kPanel < a.w.n;
  const Waiting<kTiles> waiting{reinterpret_cast<float*>(steps.ring + steps.kRing * step),
                                {a, my_row + lane() % 4 * 2, my_panel * kPanel + lane() / 4 * 4}};
  UnitSums<kForm, kRows, kBy> unit{a, steps};
  unit.begin();

  Sums<kTiles> newest = {};  // that waits for a right neighbour, where `has_newest`
  bool has_newest = false;
  int depth = 0;
  for (int u = run.first; u < run.last; u++) {
    if (u + 1 == run.last) let_next_begin();
    Sums<kTiles> sums = {};
    const float4 scales = exists ? unit_scales<kForm>(a.w, shape, my_panel, units.begin(u)) : float4{};
    unit.add(u, sums);
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
  if (gate.panels > 0)
    write_gated<kRows, kTiles>(a, gate, first_row, tile.outputs, steps.of_tile, steps.half, newest, waiting.shared);
  else
    write_roots<kTiles>(waiting, depth, newest);
}

template <PackedForm kForm, int kRows, By kBy>
bool enqueue_tile(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  const StepShape shape = step_shape(a.w);
  const int step = shape.step(kTilePanels, kRows, row_pieces(kForm));
  const int64_t shared = ring_of_tile(kForm, kRows) * step + kSharedSums * sums_bytes<kRows>();
  if (shared > most_shared()) return false;
  const int64_t row_count = row_tiles(a, kRows), tiles = row_count * blocks_of(a.w.n, kTilePanels * kPanel);
  const Split split = a.experts.ends.empty()
                          ? split_of(launch, tiles, sums_bytes<kRows>(), units, a.contraction->program.roots)
                          : Split{};
  enqueue_shared(launch, tiles * split.parts, kThreads, shared, tile_matmul_kernel<kForm, kRows, kBy>, a, gate, units,
                 split, shape, step, row_count);
  return true;
}

template <PackedForm kForm, By kBy>
bool enqueue_tile_form(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  if (rows_of_matrix(a) > 64 && enqueue_tile<kForm, 128, kBy>(launch, a, gate, units)) return true;
  return enqueue_tile<kForm, 64, kBy>(launch, a, gate, units);
}

}  // namespace

bool tile_matmul(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units, By by) {
  // y holds one sum only, and only where it is the last that is written.
  if (units.max_depth > (a.contraction->program.roots == 1 ? kMostSums : kMostSums - 1)) return false;
  return by_form(a.w.form, [&](auto form) {
    if constexpr (form() == PackedForm::bf16)
      if (by == By::warpgroups) return enqueue_tile_form<form(), By::warpgroups>(launch, a, gate, units);
    return enqueue_tile_form<form(), By::warps>(launch, a, gate, units);
  });
}

}  // namespace trireme::cuda
