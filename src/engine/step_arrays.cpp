#include "engine/step_arrays.h"

#include <algorithm>

#include "base/must.h"

namespace trireme {

StepArrays::StepArrays(Device& device, int64_t rows, int64_t sequences, int64_t table_blocks)
    : memory_(device, static_cast<size_t>(bytes(rows, sequences, table_blocks)), "a step's rows"),
      most_rows_(rows),
      most_sequences_(sequences),
      table_blocks_(table_blocks) {}

int64_t StepArrays::bytes(int64_t rows, int64_t sequences, int64_t table_blocks) {
  const int64_t of_row = sizeof(int64_t) + 2 * sizeof(int32_t);
  return rows * of_row + sequences * (int64_t{sizeof(AttentionSpan)} + table_blocks * int64_t{sizeof(int32_t)});
}

void StepArrays::begin(int64_t rows, int64_t sequences) {
  must(rows <= most_rows_ && sequences <= most_sequences_, "a step has room for its rows and sequences");
  rows_ = rows, sequences_ = sequences;
  rows_there_ = spans_there_ = table_entries_ = rows_of_spans_ = 0;
}

void StepArrays::add_span(int64_t rows, int32_t first_position, std::span<const int32_t> block_table) {
  must(rows > 0 && spans_there_ < sequences_ && rows_of_spans_ + rows <= rows_ &&
           std::ssize(block_table) <= table_blocks_,
       "a step has the spans that were announced");
  const size_t table = tables() + static_cast<size_t>(table_entries_) * sizeof(int32_t);
  std::copy(block_table.begin(), block_table.end(), memory_.host<int32_t>(table));
  memory_.host<AttentionSpan>(spans())[spans_there_++] = {static_cast<int32_t>(rows_of_spans_),
                                                          static_cast<int32_t>(rows), first_position,
                                                          memory_.device<const int32_t>(table)};
  rows_of_spans_ += rows;
  table_entries_ += std::ssize(block_table);
}

void StepArrays::add_row(int32_t token, int32_t angle, int64_t slot) {
  must(rows_there_ < rows_of_spans_, "a row belongs to a span");
  memory_.host<int64_t>()[rows_there_] = slot;
  memory_.host<int32_t>(tokens())[rows_there_] = token;
  memory_.host<int32_t>(angles())[rows_there_] = angle;
  rows_there_++;
}

StepBatch StepArrays::for_device() const {
  const auto rows = static_cast<size_t>(rows_);
  return {{memory_.device<const int32_t>(tokens()), rows},
          {memory_.device<const int32_t>(angles()), rows},
          {memory_.device<const int64_t>(), rows},
          {memory_.device<const AttentionSpan>(spans()), static_cast<size_t>(sequences_)}};
}

}  // namespace trireme
