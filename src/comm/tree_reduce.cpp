#include "comm/tree_reduce.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/thread_pool.h"

namespace trireme {

namespace {

// From here on, each rank adds a slice and the sums are exchanged (two exchanges, each byte read about twice) instead
// of each rank reading all roots (one exchange). Measured by tests/comm/collective_ranks on 2 and 4 ranks of 2 cores:
// at 4 ranks the two meet between 16 and 64 KiB, at 2 slices never won; over a network both ranks of 2 send as much.
constexpr int64_t kSliceBytes = 64 << 10;
constexpr int kSliceRanks = 3;
// Between GPUs that reach each other's memory: published curves of one-shot and two-shot all-reduce over NVSwitch cross
// between 256 KiB (8 ranks) and 1 MiB (2 ranks). Not measured with ours.
constexpr int64_t kSliceBytesOfGpus = 512 << 10;

size_t bytes_of(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

int max_roots(int units, std::span<const UnitRange> held) {
  size_t most = 1;  // a slice's sum needs room, too
  for (UnitRange range : held) most = std::max(most, maximal_nodes(units, range).size());
  return static_cast<int>(most);
}

}  // namespace

TreeReduce::TreeReduce(Collective& group, Device& device, const Kernels& kernels, int units,
                       std::span<const UnitRange> held, int64_t columns, int64_t max_rows)
    : group_(group),
      device_(device),
      kernels_(kernels),
      columns_(columns),
      single_{{0}, 1},
      to_(held.size()),
      from_(held.size()) {
  must(static_cast<int>(held.size()) == group.size(), "each rank of the group holds units");
  const size_t bytes = window_bytes(units, held, columns, max_rows);
  if (group.size() == 1) own_ = device.allocate(bytes, "partial sums");
  must(own_.data() || bytes <= group.window_bytes(), "the group's windows hold the roots of a step");
  std::vector<UnitRange> all;
  for (UnitRange range : held) {
    auto roots = maximal_nodes(units, range);
    root_count_.push_back(static_cast<int>(roots.size()));
    all.insert(all.end(), roots.begin(), roots.end());
  }
  program_ = tree_program(units, all);
  must(program_.roots == 1, "the ranks' units cover the tree");
  in_a_row_ = {std::vector<int>(static_cast<size_t>(root_count_[static_cast<size_t>(group.rank())]), 1), 1};
  in_a_row_.pops.front() = 0;
  nodes_.resize(all.size());
}

size_t TreeReduce::window_bytes(int units, std::span<const UnitRange> held, int64_t columns, int64_t max_rows) {
  int64_t bytes = 0;
  must(!__builtin_mul_overflow(columns * static_cast<int64_t>(sizeof(float)), max_rows, &bytes) &&
           !__builtin_mul_overflow(bytes, static_cast<int64_t>(max_roots(units, held)), &bytes),
       "the roots of a step fit 64 bits");
  return static_cast<size_t>(bytes);
}

float* TreeReduce::roots() { return reinterpret_cast<float*>(own_.data() ? own_.data() : group_.window()); }

void TreeReduce::reduce(const Result& result) {
  const int ranks = group_.size();
  const int64_t rows = result.out.rows, slice_bytes = group_.is_operation() ? kSliceBytesOfGpus : kSliceBytes;
  if (ranks == 1) return reduce_alone(result);
  if (by_group_sum(rows)) return reduce_by_group_sum(result);
  const bool sliced = ranks >= kSliceRanks && rows >= ranks && rows * columns_ * 4 >= slice_bytes;
  sliced ? reduce_by_slices(result) : reduce_whole(result);
}

void TreeReduce::reduce_alone(const Result& result) {
  for (size_t i = 0; i < nodes_.size(); i++)
    nodes_[i] = own_.as<float>() + static_cast<int64_t>(i) * root_stride(result.out.rows);
  finish(nodes_, program_, result);
}

// Where exchanges are no operations, the host would wait for each: there is no size at which they are faster.
bool TreeReduce::by_group_sum(int64_t rows) const {
  return group_.sum() && (!group_.is_operation() || static_cast<int64_t>(bytes_of(rows * columns_)) >= kGroupSumBytes);
}

// In the window that the next exchange would show, which nobody else reads now.
void TreeReduce::reduce_by_group_sum(const Result& result) {
  const int64_t rows = result.out.rows;
  float* partial = roots();
  const size_t mine = in_a_row_.pops.size();
  for (size_t i = 0; i < mine; i++) nodes_[i] = partial + static_cast<int64_t>(i) * root_stride(rows);
  const std::span<const float* const> nodes(nodes_.data(), mine);
  if (mine > 1) finish(nodes, in_a_row_, {{partial, rows, columns_}, false});
  group_.sum()->add_up(partial, static_cast<size_t>(root_stride(rows)));
  finish(nodes.first(1), single_, result);
}

// Every rank sees all roots and adds them all.
void TreeReduce::reduce_whole(const Result& result) {
  const int64_t rows = result.out.rows;
  const size_t me = static_cast<size_t>(group_.rank());
  for (size_t r = 0; r < to_.size(); r++) {
    to_[r] = {0, bytes_of(root_count_[me] * root_stride(rows)), 0, 1};
    from_[r] = {0, bytes_of(root_count_[r] * root_stride(rows)), 0, 1};
  }
  group_.exchange(to_, from_);
  combine(0, rows, result);
}

// Every rank adds its slice of the rows, then shows the sums. The same additions: only who makes them differs.
void TreeReduce::reduce_by_slices(const Result& result) {
  const int64_t all = result.out.rows;
  auto slice = [&](size_t r) { return part_of(all, static_cast<int>(r), group_.size()); };
  auto piece = [&](size_t slice_of, int roots) {
    Range rows = slice(slice_of);
    return Collective::Piece{bytes_of(rows.begin * columns_), bytes_of((rows.end - rows.begin) * columns_),
                             bytes_of(root_stride(all)), static_cast<size_t>(roots)};
  };
  size_t ranks = to_.size(), me = static_cast<size_t>(group_.rank());
  for (size_t r = 0; r < ranks; r++) {
    to_[r] = piece(r, root_count_[me]);
    from_[r] = piece(me, root_count_[r]);
  }
  group_.exchange(to_, from_);
  Range mine = slice(me);
  float* sums_of_mine = reinterpret_cast<float*>(group_.window()) + mine.begin * columns_;
  combine(mine.begin, all, {{sums_of_mine, mine.end - mine.begin, columns_}, false});

  for (size_t r = 0; r < ranks; r++) {
    to_[r] = piece(me, 1);
    from_[r] = piece(r, 1);
  }
  group_.exchange(to_, from_);
  for (size_t r = 0; r < ranks; r++) {
    Range rows = slice(r);
    const float* sums = reinterpret_cast<const float*>(group_.shown(static_cast<int>(r))) + rows.begin * columns_;
    finish({&sums, 1}, single_, {result.out.rows_from(rows.begin, rows.end - rows.begin), result.accumulate});
  }
  if (result.norm) device_.launch(kernels_.rms_norm, *result.norm);
}

void TreeReduce::combine(int64_t first_row, int64_t rows, const Result& result) {
  size_t node = 0;
  for (size_t r = 0; r < root_count_.size(); r++) {
    const float* shown = reinterpret_cast<const float*>(group_.shown(static_cast<int>(r))) + first_row * columns_;
    for (int i = 0; i < root_count_[r]; i++) nodes_[node++] = shown + i * root_stride(rows);
  }
  finish(nodes_, program_, result);
}

void TreeReduce::finish(std::span<const float* const> nodes, const TreeProgram& program, const Result& result) {
  const TreeCombine sum{nodes, &program, columns_, result.out, result.accumulate};
  if (result.norm && std::ssize(nodes) <= AddNorm::kMostNodes)
    return device_.launch(kernels_.add_norm, AddNorm{sum, *result.norm});
  device_.launch(kernels_.tree_combine, sum);
  if (result.norm) device_.launch(kernels_.rms_norm, *result.norm);
}

}  // namespace trireme
