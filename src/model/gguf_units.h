#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"

namespace trireme {

// Consecutive units of a tensor as a checkpoint stores them: values or codes, scales, minimums.
struct StoredUnits {
  std::span<std::byte> parts[3];
};

// Bytes of `units` units in all parts.
uint64_t stored_bytes(const TensorInfo& tensor, int units);

// Cuts one tensor of a GGUF file into units: splits blocks into parts, gathers columns, and puts the rows of rotary
// heads back into transformers' order. Holds one batch of units and one band of source rows.
class GgufUnits {
 public:
  // rope_heads: > 0 where the rows are that many heads with interleaved rotary pairs.
  GgufUnits(const InputFile& file, const GgufTensor& source, const TensorInfo& tensor, int rope_heads);

  int batch() const { return batch_; }  // units that read() takes at most
  const StoredUnits& read(UnitRange units);

 private:
  struct Box {  // of the source: rows and columns
    int64_t row_begin, row_end, column_begin, column_end;
  };
  Box box_of(UnitRange units) const;
  int64_t stored_row(int64_t row) const;
  void place(int64_t row, const std::byte* source, const Box& box, UnitRange units);

  const InputFile& file_;
  const GgufTensor& source_;
  const TensorInfo& tensor_;
  int64_t head_rows_ = 0;  // rows of a rotary head; 0: none
  int batch_ = 1;
  Buffer memory_;    // [batch] units, part after part
  Buffer band_;      // source rows
  Buffer split_[3];  // one row of them, come apart
  StoredUnits stored_;
};

}  // namespace trireme
