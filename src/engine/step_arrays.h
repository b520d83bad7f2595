#pragma once

#include <cstdint>
#include <span>

#include "device/staged_memory.h"
#include "model/stage.h"

namespace trireme {

// The small arrays of a step, one after the other, so that one copy brings them all to a device. Where they lie depends
// on how many rows and sequences a step has, and on nothing else: steps of as many may be repeated.
class StepArrays {
 public:
  // Of at most so many rows of so many sequences, each with a table of at most so many blocks.
  StepArrays(Device& device, int64_t rows, int64_t sequences, int64_t table_blocks);
  // On either side, at most.
  static int64_t bytes(int64_t rows, int64_t sequences, int64_t table_blocks);

  // Of the next step. The device is done with the last one's.
  void begin(int64_t rows, int64_t sequences);
  // The next sequence: so many rows, one at least, from a position on, which come next; its block table is copied.
  void add_span(int64_t rows, int32_t first_position, std::span<const int32_t> block_table);
  void add_row(int32_t token, int32_t angle, int64_t slot);
  // Operations that follow see them.
  void send() const { memory_.to_device(tables() + static_cast<size_t>(table_entries_) * sizeof(int32_t)); }

  std::span<const int32_t> tokens_for_host() const {
    return {memory_.host<const int32_t>(tokens()), static_cast<size_t>(rows_)};
  }
  StepBatch for_device() const;

 private:
  // In this order, from the widest elements on: slots [rows], spans [sequences], tokens [rows], angles [rows], tables.
  size_t spans() const { return static_cast<size_t>(rows_) * sizeof(int64_t); }
  size_t tokens() const { return spans() + static_cast<size_t>(sequences_) * sizeof(AttentionSpan); }
  size_t angles() const { return tokens() + static_cast<size_t>(rows_) * sizeof(int32_t); }
  size_t tables() const { return angles() + static_cast<size_t>(rows_) * sizeof(int32_t); }

  StagedMemory memory_;
  int64_t most_rows_, most_sequences_, table_blocks_;
  int64_t rows_ = 0, sequences_ = 0;  // that this step has
  int64_t rows_there_ = 0, spans_there_ = 0, table_entries_ = 0;
  int64_t rows_of_spans_ = 0;
};

}  // namespace trireme
