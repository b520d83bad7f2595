#pragma once

#include <span>
#include <vector>

#include "comm/collective.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace trireme {

// The sum after a row-parallel product, along the canonical unit tree, equal bits on every rank of the group whatever
// the borders. Each rank's product leaves the roots of its maximal nodes in the window; all ranks see all roots
// (small), or each rank adds a slice of the rows' elements and the slices are gathered (large): a choice of motion, not
// of order. A group of one keeps its roots where operations work, and the host waits for nothing. Where the group has a
// GroupSum (--numerics fast), that adds one partial sum of each rank instead, in an order of its own.
class TreeReduce {
 public:
  // Between GPUs that reach each other's memory a GroupSum is taken from this size of the result on: below, our own
  // exchange moves few bytes and starts sooner. Of published curves of NCCL and one-shot all-reduces over NVSwitch,
  // which meet between 512 KiB and several MiB. Not measured with ours.
  static constexpr int64_t kGroupSumBytes = 1 << 20;

  // held[r]: the units of rank r, consecutive, covering [0, units). columns: of the result. max_rows: of a step.
  TreeReduce(Collective& group, Device& device, const Kernels& kernels, int units, std::span<const UnitRange> held,
             int64_t columns, int64_t max_rows);

  // Window bytes that a group needs for this reduce.
  static size_t window_bytes(int units, std::span<const UnitRange> held, int64_t columns, int64_t max_rows);

  // Where this rank's product writes its roots for the next reduce: [roots][rows, columns], root_stride(rows) apart.
  float* roots();
  int64_t root_stride(int64_t rows) const { return rows * columns_; }
  // Whether a GroupSum adds a result of so many rows.
  bool by_group_sum(int64_t rows) const;

  // out += the sum of all ranks' roots, or out = that sum. out: [rows, columns], dense or strided.
  void add_to(MatrixView<float> out) { reduce({out, true}); }
  void write_to(MatrixView<float> out) { reduce({out, false}); }
  // out += the sum, and then its norm: norm.x is out.
  void add_to(MatrixView<float> out, const RmsNorm& norm) { reduce({out, true, &norm}); }

 private:
  // What becomes of the sum.
  struct Result {
    MatrixView<float> out;
    bool accumulate = false;
    const RmsNorm* norm = nullptr;
  };
  void reduce(const Result& result);
  void reduce_alone(const Result& result);
  void reduce_by_group_sum(const Result& result);
  void reduce_whole(const Result& result);
  void reduce_by_slices(const Result& result);
  // The tree over rows [first_row, first_row + result.out.rows) of what the last exchange showed of a step's `rows`.
  void combine(int64_t first_row, int64_t rows, const Result& result);
  void finish(std::span<const float* const> nodes, const TreeProgram& program, const Result& result);

  Collective& group_;
  Device& device_;
  const Kernels& kernels_;
  int64_t columns_;
  std::vector<int> root_count_;               // [size]
  TreeProgram program_;                       // over all ranks' roots, in rank order
  TreeProgram in_a_row_;                      // over this rank's roots alone, of which the tree makes no sum
  TreeProgram single_;                        // over one sum: adds it to `out`, or writes it there
  std::vector<const float*> nodes_;           // [all roots] where they are shown
  std::vector<Collective::Piece> to_, from_;  // [size]
  Buffer own_;                                // a group of one: the roots
};

}  // namespace trireme
