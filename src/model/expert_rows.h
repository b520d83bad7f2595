#pragma once

#include <span>
#include <vector>

#include "device/pinned_vector.h"
#include "device/staged_memory.h"
#include "kernels/kernels.h"
#include "model/units.h"

namespace trireme {

// Which rows of a step go to which of the experts that a rank holds. The device routes; the host makes the lists, for
// it launches every expert's products over as many rows as chose it.
class ExpertRows {
 public:
  ExpertRows() = default;
  // Steps have at most so many rows, each of which chooses `per_row` of all experts.
  ExpertRows(Device& device, int64_t rows, int per_row, UnitRange held);
  // Of memory that host and device have one each of, and that they share.
  static int64_t staged_bytes(int64_t rows, int per_row, UnitRange held);
  static int64_t pinned_bytes(int64_t rows, int per_row, UnitRange held);

  // Where operations leave the choices of a step, [rows, per_row], which the host has after fetch() and synchronize().
  struct Choices {
    std::span<int32_t> experts;
    std::span<float> weights;
  };
  Choices choices(int64_t rows) const { return choices_at(choices_.device<int32_t>(), rows); }
  void fetch(int64_t rows) const { choices_.to_host(static_cast<size_t>(rows * per_row_) * kCellBytes); }

  // Makes the lists, for operations that follow. x: the step's rows, where operations find them.
  void list(int64_t rows, const float* x);
  // x alone, and its rows that chose the held expert `e`, ascending: what GatherRows takes.
  std::span<const float* const> source() const { return source_; }
  std::span<const RowPlace> rows_of(int e) const;
  // What ExpertCombine takes, [rows, experts held]: results stand in the order of the lists.
  std::span<const int32_t> assignment() const { return {cells_.device<int32_t>(), listed_}; }
  std::span<const float> weights() const { return {cells_.device<float>(listed_ * sizeof(int32_t)), listed_}; }

 private:
  static constexpr size_t kCellBytes = sizeof(int32_t) + sizeof(float);
  Choices choices_at(int32_t* experts, int64_t rows) const {
    const auto count = static_cast<size_t>(rows * per_row_);
    return {{experts, count}, {reinterpret_cast<float*>(experts + count), count}};
  }

  int per_row_ = 0;
  UnitRange held_;
  StagedMemory choices_, cells_;       // of both a step's integers, then its weights
  PinnedVector<const float*> source_;  // [1]
  PinnedVector<RowPlace> places_;      // of one expert after the other
  std::vector<int64_t> ends_;          // [experts held] of their places
  size_t listed_ = 0;                  // cells
};

}  // namespace trireme
