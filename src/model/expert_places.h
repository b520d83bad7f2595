#pragma once

#include <algorithm>

#include "device/device.h"
#include "model/units.h"

namespace trireme {

// A step's choice of experts, and the places of its rows by expert, of those that a rank holds. Only operations see
// what stands there: no host waits for a choice.
class ExpertPlaces {
 public:
  ExpertPlaces() = default;
  // Steps have at most so many rows, each of which chooses `top_k` of all experts.
  ExpertPlaces(Device& device, int64_t rows, int top_k, UnitRange held)
      : top_k_(top_k),
        held_(held),
        most_rows_(rows),
        memory_(device.allocate(static_cast<size_t>(bytes(rows, top_k, held)), "places of experts")) {}
  static int64_t bytes(int64_t rows, int top_k, UnitRange held) {
    return (rows * (3 * top_k + of_row(top_k, held)) + held.size()) * int64_t{sizeof(int32_t)};
  }
  // Places of a row at most.
  static int64_t of_row(int top_k, UnitRange held) { return std::min<int64_t>(top_k, held.size()); }

  // Of a step of so many rows.
  std::span<int32_t> experts(int64_t rows) const { return array<int32_t>(0, rows * top_k_); }
  std::span<float> weights(int64_t rows) const { return array<float>(choices(), rows * top_k_); }
  std::span<int32_t> place_of(int64_t rows) const { return array<int32_t>(2 * choices(), rows * top_k_); }
  std::span<int32_t> row_of(int64_t rows) const { return array<int32_t>(3 * choices(), rows * of_row(top_k_, held_)); }
  std::span<int32_t> ends() const {
    return array<int32_t>(3 * choices() + most_rows_ * of_row(top_k_, held_), held_.size());
  }

 private:
  int64_t choices() const { return most_rows_ * top_k_; }
  template <typename T>
  std::span<T> array(int64_t at, int64_t count) const {
    return {memory_.as<T>() + at, static_cast<size_t>(count)};
  }

  int top_k_ = 0;
  UnitRange held_;
  int64_t most_rows_ = 0;
  Buffer memory_;
};

}  // namespace trireme
