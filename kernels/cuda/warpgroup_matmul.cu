// Products of many rows with BF16 or FP16 weights by warpgroups (warpgroup.cuh), with the bits of tile_matmul.cu's. A
// block's tile of 128 outputs and 128 or 64 rows is multiplied by two warpgroups, each with 64 of the outputs and all
// rows: 16 outputs a warp. Weights and rows come to a ring of stages, some steps each, that the block's warps meet once
// for. Units' sums run the tree in place: the last two that wait stay in registers, those below them in shared memory,
// the deepest in y itself.
#include "kernels/cuda/split.cuh"
#include "kernels/cuda/step_copy.cuh"
#include "kernels/cuda/tile.cuh"
#include "kernels/cuda/warpgroup.cuh"

namespace trireme::cuda {

namespace {

constexpr PackedForm kPairs = PackedForm::bf16;  // or f16_pairs, whose steps are the same
constexpr int kStep = step_columns(kPairs), kPanelStep = step_lines(kPairs) * kLine;
constexpr int kWarpOutputs = 16;

// What shared memory is divided into, up to 224 KiB of the 227 that a block may have.
template <int kRowsOfTile, int kStepsOfStage, int kStages, int kSumsThere>
struct TileShape {
  static constexpr int kRows = kRowsOfTile, kTiles = kRows / kTensorRows;
  static constexpr int kSteps = kStepsOfStage, kColumns = kSteps * kStep;         // of a stage
  static constexpr int kWeightBytes = kTilePanels * kSteps * kPanelStep;          // [panels][steps][lines][kLine]
  static constexpr int kStageBytes = kWeightBytes + kRows * kSteps * 2 * kPiece;  // then rows, swizzled
  static constexpr int kRing = kStages;
  static constexpr int kAhead = kRing - 2;  // stages under way: products still read the one before this one
  static constexpr int kSharedSums = kSumsThere;
  static constexpr int kHeldSums = kSharedSums + 3;  // three in registers
  static constexpr int64_t kShared = int64_t{kRing} * kStageBytes + kSharedSums * sums_bytes<kRows>();
};
// Trees of up to 31 units, and of 63; and tiles of fewer rows, which take trees of 127.
using Shallow = TileShape<128, 4, 5, 1>;
using Deep = TileShape<128, 2, 6, 2>;
using Low = TileShape<64, 4, 5, 3>;

// Copies kRows rows of x: so many threads beside each other a row that they take all of its columns in a stage.
template <typename Shape>
struct StageRows {
  static constexpr int kPieces = Shape::kSteps * 2, kApart = kThreads / kPieces;  // rows that are copied at once
  const std::byte* from;
  int next;  // bytes to the next of the thread's rows
  int rows;  // of the tile, from the thread's first on, that x has
  int to;
  bool aligned;

  __device__ StageRows(const Activations& x, int first_row, const Units& units)
      : next(kApart * static_cast<int>(x.row_bytes)), aligned(units_begin_at_pieces(units)) {
    const int row = static_cast<int>(threadIdx.x) / kPieces, index = static_cast<int>(threadIdx.x) % kPieces;
    from = x.data + int64_t{first_row + row} * x.row_bytes + index * kPiece;
    rows = static_cast<int>(min(x.rows - first_row, int64_t{Shape::kRows})) - row;
    to = swizzled_offset<kPieces>(row, index);
  }

  __device__ void copy(int k, int end, std::byte* stage_rows) const {
    static_assert(kApart % 8 == 0, "rows so far apart are swizzled alike");
    constexpr int kCopies = Shape::kRows / kApart, kNextCopy = kApart * kPieces * kPiece;
    const std::byte* here = from + 2 * int64_t{k};
    std::byte* there = stage_rows + to;
    if (aligned && k + Shape::kColumns <= end) {
      UNROLL
      for (int i = 0; i < kCopies; i++, here += next)
        if (i * kApart < rows) copy_shared<kPiece>(there + i * kNextCopy, here);
    } else {
      const int piece = static_cast<int>(threadIdx.x) % kPieces * kPiece;
      NO_UNROLL
      for (int i = 0; i < kCopies && i * kApart < rows; i++, here += next)
        copy_row_piece(there + i * kNextCopy, here, max(0, min(kPiece, 2 * (end - k) - piece)), aligned);
    }
  }
};

// Stages of a block's tile, as they come to its ring; and the warp's place in them.
template <typename Shape>
struct TileStages {
  static constexpr int kTeam = kThreads / kTilePanels;  // threads that copy a panel

  std::byte* ring;
  int at = 0;
  PanelCopy<kPairs, kTeam> panel_copy;
  StageRows<Shape> row_copy;
  Steps<kPairs, Shape::kColumns> coming;

  __device__ TileStages(const MatMul& a, const Gate& gate, const Units& units, const UnitRun& run,
                        const StepShape& step, const TileIndex& tile, int first_row)
      : ring(block_memory()),
        panel_copy(a.w, step, panel_of(gate, tile.outputs, kTilePanels, static_cast<int>(threadIdx.x) / kTeam),
                   static_cast<int>(threadIdx.x) % kTeam),
        row_copy(a.x, first_row, units),
        coming(units, run.first, 1, run.last) {
    auto early = coming;  // weights, which nobody writes
    for (int i = 0; i < Shape::kAhead && !early.done(); i++, early.next()) copy_weights(early, stage(i));
    wait_for_earlier();
    for (int i = 0; i < Shape::kAhead; i++) copy_rows(stage(i));
  }

  // The next stage, which is here; all products but the newest group are done, everyone's.
  __device__ const std::byte* next() {
    wait_for_products<1>();
    wait_for_copies<Shape::kAhead - 1>();
    show_copies_to_products();
    __syncthreads();
    return stage(at);
  }
  // Behind next(), once: copies go where the stage before the last one was.
  __device__ void refill() {
    std::byte* free_one =
        stage(at + Shape::kAhead < Shape::kRing ? at + Shape::kAhead : at + Shape::kAhead - Shape::kRing);
    if (!coming.done()) copy_weights(coming, free_one);
    copy_rows(free_one);
    at = at + 1 < Shape::kRing ? at + 1 : 0;
  }

 private:
  __device__ std::byte* stage(int i) const { return ring + i * Shape::kStageBytes; }
  __device__ void copy_weights(const Steps<kPairs, Shape::kColumns>& of, std::byte* to) const {
    to += static_cast<int>(threadIdx.x) / kTeam * Shape::kSteps * kPanelStep;
    UNROLL
    for (int i = 0; i < Shape::kSteps; i++) panel_copy.copy(of.k + i * kStep, of.end, to + i * kPanelStep);
  }
  __device__ void copy_rows(std::byte* to) {
    if (!coming.done()) {
      row_copy.copy(coming.k, coming.end, to + Shape::kWeightBytes);
      coming.next();
    }
    end_copies();
  }
};

// The sums of a unit: while a step is multiplied, the weights of the next one are loaded.
template <PackedForm kForm, typename Shape>
struct UnitProducts {
  static constexpr int kTiles = Shape::kTiles, kPieces = Shape::kSteps * 2;
  TileStages<Shape>& stages;
  int of_stage;  // where the lane's weights of a step are: line `member`, of a piece the half with two of its outputs

  __device__ explicit UnitProducts(TileStages<Shape>& of_tile) : stages(of_tile) {
    const int quad = lane() / 4, member = lane() % 4;
    of_stage = warp() / 2 * Shape::kSteps * kPanelStep + piece_offset<kPairs>(member, warp() % 2 * 4 + quad / 2) +
               quad % 2 * kPiece / 2;
  }

  __device__ void add(int begin, int end, GroupSums<kTiles>& sums) const {
    unsigned weights[2][4];
    fence_sums<kTiles>(sums);
    int k = begin;
    for (; k + Shape::kColumns <= end; k += Shape::kColumns) {
      const std::byte* stage = stages.next();
      const uint64_t rows = rows_descriptor<kPieces>(stage + Shape::kWeightBytes);
      UNROLL
      for (int i = 0; i < Shape::kSteps; i++) {
        if (i > 0) wait_for_products<1>();
        multiply(stage, rows, i, weights[i % 2], sums);
        if (i == 0) stages.refill();
      }
    }
    if (k < end) {  // some steps of a stage
      const std::byte* stage = stages.next();
      const uint64_t rows = rows_descriptor<kPieces>(stage + Shape::kWeightBytes);
      stages.refill();
      NO_UNROLL
      for (int i = 0; k < end; i++, k += kStep) {
        wait_for_products<0>();
        multiply(stage, rows, i, weights[0], sums);
      }
    }
    wait_for_products<0>();
    fence_sums<kTiles>(sums);
  }

 private:
  __device__ void multiply(const std::byte* stage, uint64_t rows, int step, unsigned (&weights)[4],
                           GroupSums<kTiles>& sums) const {
    const std::byte* lines = stage + of_stage + step * kPanelStep;
    const uint2 first = *reinterpret_cast<const uint2*>(lines),
                second = *reinterpret_cast<const uint2*>(lines + step_lines(kPairs) / 2 * kLine);
    weights[0] = first.x, weights[1] = first.y, weights[2] = second.x, weights[3] = second.y;
    begin_products(weights);
    enqueue_product<kForm, kTiles>(weights, rows + static_cast<uint64_t>(2 * step), sums);
    end_products();
  }
};

// Sums of a thread that wait for a right neighbour: two of them in registers, those below in shared memory, one in y.
template <typename Shape>
struct WaitingSums {
  static constexpr int kTiles = Shape::kTiles, kValues = kTiles * 4;
  float* shared;  // [kSharedSums][kValues][kThreads]
  Place place;
  int below = 0, held = 0;
  GroupSums<kTiles> low = {}, high = {};  // held: none, `low`, or both, of which `high` is the newest

  __device__ WaitingSums(float* in_memory, const Place& in_y) : shared(in_memory), place(in_y) {}

  __device__ int count() const { return below + held; }
  // A unit's sums, and what the tree joins behind it, as far as it waits here: behind a part's last unit not all does.
  __device__ void take(const GroupSums<kTiles>& sums, int pops) {
    if (pops == 0 || held == 0) return push(sums);
    if (held == 2)
      add(sums, high);
    else
      add(sums, low);
    for (pops--; pops > 0 && count() > 1; pops--)
      if (held == 2) {
        add(high, low);
        held = 1;
      } else {
        each_below(--below, [this](int j, float& waiting) { low[j / 4][j % 4] = waiting + low[j / 4][j % 4]; });
      }
  }
  // Of the roots, one or more, the last one: where there are several none is in y.
  __device__ void pop(GroupSums<kTiles>& sums) {
    if (held == 2) {
      assign(high, sums);
    } else if (held == 1) {
      assign(low, sums);
    } else {
      below--;
      UNROLL
      for (int j = 0; j < kValues; j++) sums[j / 4][j % 4] = shared[(below * kValues + j) * kThreads + threadIdx.x];
    }
    held = max(held - 1, 0);
  }

 private:
  __device__ void push(const GroupSums<kTiles>& sums) {
    if (held == 2) {
      each_below(below++, [this](int j, float& waiting) { waiting = low[j / 4][j % 4]; });
      assign(high, low);
    }
    if (held == 0)
      assign(sums, low);
    else
      assign(sums, high);
    held = min(held + 1, 2);
  }
  __device__ static void add(const GroupSums<kTiles>& right, GroupSums<kTiles>& left) {
    UNROLL
    for (int j = 0; j < kValues; j++) left[j / 4][j % 4] = left[j / 4][j % 4] + right[j / 4][j % 4];
  }
  __device__ static void assign(const GroupSums<kTiles>& from, GroupSums<kTiles>& to) {
    UNROLL
    for (int j = 0; j < kValues; j++) to[j / 4][j % 4] = from[j / 4][j % 4];
  }
  template <typename F>
  __device__ void each_below(int depth, const F& f) const {
    const Place in_y = place.here();
    UNROLL
    for (int j = 0; j < kValues; j++) {
      if (depth < Shape::kSharedSums)
        f(j, shared[(depth * kValues + j) * kThreads + threadIdx.x]);
      else if (float* y = in_y.at(0, j / 4, 0, j % 4))
        f(j, *y);
    }
  }
};

// A root of a tile, by way of the ring, which nothing reads any more: whole lines go to y, and gate meets up.
template <typename Shape>
__device__ void write_root(const MatMul& a, const Gate& gate, const TileIndex& tile, int first_row, int root,
                           const GroupSums<Shape::kTiles>& sums) {
  static_assert(Shape::kRows * kSumsStride * int64_t{sizeof(float)} <= Shape::kRing * Shape::kStageBytes);
  float* shared = reinterpret_cast<float*>(block_memory());
  __syncthreads();
  float* mine = shared + lane() % 4 * 2 * kSumsStride + warp() * kWarpOutputs + lane() / 4 * 2;
  UNROLL
  for (int j = 0; j < Shape::kTiles * 2; j++)  // rows of the lane
    *reinterpret_cast<float2*>(mine + (j / 2 * kTensorRows + j % 2) * kSumsStride) = {sums[j / 2][j % 2],
                                                                                      sums[j / 2][2 + j % 2]};
  __syncthreads();
  if (gate.panels > 0) return gate_rows<Shape::kRows>(a, gate, first_row, tile.outputs, shared);
  const int n = tile.outputs * kTileOutputs + lane();
  const int rows = static_cast<int>(min(a.x.rows - first_row, int64_t{Shape::kRows}));
  NO_UNROLL
  for (int row = warp(); row < rows; row += kThreads / kWarp) {
    float* y = a.y + root * a.root_stride + int64_t{first_row + row} * a.y_stride;
    UNROLL
    for (int p = 0; p < kTileOutputs; p += kWarp)
      if (n + p < a.w.n) y[n + p] = with_bias(a, n + p, shared[row * kSumsStride + p + lane()]);
  }
}

template <PackedForm kForm, typename Shape>
__global__ void __launch_bounds__(kThreads, 1)
    warpgroup_matmul_kernel(MatMul a, Gate gate, Units units, Split split, StepShape step, int row_tiles) {
  constexpr int kTiles = Shape::kTiles;
  const int tile_number = static_cast<int>(blockIdx.x / static_cast<unsigned>(split.parts));
  const int part = static_cast<int>(blockIdx.x % static_cast<unsigned>(split.parts));
  const TileIndex tile = tile_of(tile_number, row_tiles, output_tiles(a));
  const int first_row = static_cast<int>(first_row_of(a, tile.rows, Shape::kRows));
  if (first_row < 0) return;
  const UnitRun run = units_of_part(split, units.tree.nodes, part);
  TileStages<Shape> stages(a, gate, units, run, step, tile, first_row);
  const UnitProducts<kForm, Shape> unit(stages);
  const int my_panel = static_cast<int>(panel_of(gate, tile.outputs, kTilePanels, warp() / 2));
  WaitingSums<Shape> waiting(
      reinterpret_cast<float*>(stages.ring + Shape::kRing * Shape::kStageBytes),
      {a, first_row + lane() % 4 * 2, my_panel * kPanel + warp() % 2 * kWarpOutputs + lane() / 4 * 2});

  for (int u = run.first; u < run.last; u++) {
    if (u + 1 == run.last) let_next_begin();
    GroupSums<kTiles> sums = {};
    unit.add(units.begin(u), units.end(u), sums);
    waiting.take(sums, units.tree.pops[u]);
  }
  int root = waiting.count() - 1;
  GroupSums<kTiles> sums;
  waiting.pop(sums);
  if (split.parts > 1 &&
      !join_parts<kTiles * 4>(split, tile_number, part, [&sums](int j) -> float& { return sums[j / 4][j % 4]; }))
    return;
  for (;; root--) {
    write_root<Shape>(a, gate, tile, first_row, root, sums);
    if (root == 0) return;
    waiting.pop(sums);
  }
}

// False: too many sums wait, or shared memory is too small.
template <PackedForm kForm, typename Shape>
bool enqueue_shape(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  const int roots = a.contraction->program.roots;
  if (!sums_fit(a, units, Shape::kHeldSums) || Shape::kShared > most_shared()) return false;
  const int64_t row_count = row_tiles(a, Shape::kRows), tiles = row_count * output_tiles(a);
  const Split split =
      a.experts.ends.empty() ? split_of(launch, tiles, sums_bytes<Shape::kRows>(), units, roots) : Split{};
  enqueue_shared(launch, tiles * split.parts, kThreads, Shape::kShared, warpgroup_matmul_kernel<kForm, Shape>, a, gate,
                 units, split, step_shape(a.w), static_cast<int>(row_count));
  return true;
}

template <PackedForm kForm>
bool enqueue_warpgroups(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  if (rows_of_matrix(a) > Low::kRows &&
      (enqueue_shape<kForm, Shallow>(launch, a, gate, units) || enqueue_shape<kForm, Deep>(launch, a, gate, units)))
    return true;
  return enqueue_shape<kForm, Low>(launch, a, gate, units);
}

}  // namespace

bool warpgroup_matmul(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units) {
  using enum PackedForm;
  return by_form_of<bf16, f16_pairs>(a.w.form,
                                     [&](auto form) { return enqueue_warpgroups<form()>(launch, a, gate, units); });
}

}  // namespace trireme::cuda
