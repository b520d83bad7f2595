#include "model/expert_rows.h"

#include <algorithm>
#include <numeric>

namespace trireme {

namespace {

// Experts of a row that a rank can hold.
int64_t most_of_row(int per_row, UnitRange held) { return std::min<int64_t>(per_row, held.size()); }

}  // namespace

ExpertRows::ExpertRows(Device& device, int64_t rows, int per_row, UnitRange held)
    : per_row_(per_row),
      held_(held),
      choices_(device, static_cast<size_t>(rows * per_row) * kCellBytes, "experts chosen"),
      cells_(device, static_cast<size_t>(rows * held.size()) * kCellBytes, "rows of experts"),
      source_(device, 1, "rows of experts"),
      places_(device, static_cast<size_t>(rows * most_of_row(per_row, held)), "rows of experts"),
      ends_(static_cast<size_t>(held.size())) {}

int64_t ExpertRows::staged_bytes(int64_t rows, int per_row, UnitRange held) {
  return rows * (per_row + held.size()) * int64_t{kCellBytes};
}

int64_t ExpertRows::pinned_bytes(int64_t rows, int per_row, UnitRange held) {
  return rows * most_of_row(per_row, held) * int64_t{sizeof(RowPlace)};
}

// Counts first, so that every expert's rows stand together.
void ExpertRows::list(int64_t rows, const float* x) {
  const int64_t held = held_.size();
  const Choices chosen = choices_at(choices_.host<int32_t>(), rows);
  const auto expert_of = [&](size_t i) {
    const int64_t e = chosen.experts[i] - held_.begin;
    return e >= 0 && e < held ? e : -1;
  };
  std::fill(ends_.begin(), ends_.end(), 0);
  for (size_t i = 0; i < chosen.experts.size(); i++)
    if (const int64_t e = expert_of(i); e >= 0) ends_[static_cast<size_t>(e)]++;
  std::exclusive_scan(ends_.begin(), ends_.end(), ends_.begin(), int64_t{0});

  listed_ = static_cast<size_t>(rows * held);
  int32_t* assignment = cells_.host<int32_t>();
  float* weights = cells_.host<float>(listed_ * sizeof(int32_t));
  std::fill_n(assignment, listed_, -1);
  places_.resize(static_cast<size_t>(rows * most_of_row(per_row_, held_)));
  for (size_t i = 0; i < chosen.experts.size(); i++) {
    const int64_t e = expert_of(i), row = static_cast<int64_t>(i) / per_row_;
    if (e < 0) continue;
    const int64_t at = ends_[static_cast<size_t>(e)]++;
    places_[static_cast<size_t>(at)] = {0, static_cast<int32_t>(row)};
    assignment[row * held + e] = static_cast<int32_t>(at);
    weights[row * held + e] = chosen.weights[i];
  }
  cells_.to_device(listed_ * kCellBytes);
  source_.resize(1);
  source_[0] = x;
}

std::span<const RowPlace> ExpertRows::rows_of(int e) const {
  const int64_t begin = e == 0 ? 0 : ends_[static_cast<size_t>(e) - 1];
  return {places_.data() + begin, static_cast<size_t>(ends_[static_cast<size_t>(e)] - begin)};
}

}  // namespace trireme
