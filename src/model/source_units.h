#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "checkpoint/checkpoint.h"
#include "model/model_source.h"
#include "model/row_codec.h"
#include "model/tensor_table.h"

namespace trireme {

// Consecutive units of a tensor as a checkpoint stores them: values or codes, scales, minimums.
struct StoredUnits {
  std::span<std::byte> parts[3];
};

// Bytes of `units` units in all parts.
uint64_t stored_bytes(const TensorInfo& tensor, int units);

// Where the values of one tensor of a checkpoint come from.
struct TensorPlan {
  TensorSlot slot;
  TensorInfo info;  // with the format that is to be stored
  struct Slice {
    const SourceTensor* tensor = nullptr;
    int64_t first_row = 0;
  };
  std::vector<Slice> slices;  // one with all rows, or one for each unit
  int rope_heads = 0;         // > 0: rows are that many heads with interleaved rotary pairs, to be put in our order
  float offset = 0;           // added to every value
  bool keep = true;           // stored as in the source, without passing through FP32
};

// Cuts one tensor of a source into units: reads bands of rows, takes blocks apart, gathers columns, puts the rows of
// rotary heads into transformers' order, and encodes anew where another format is asked for. Holds one batch of units,
// one band of source rows and one row come apart.
class SourceUnits {
 public:
  explicit SourceUnits(const TensorPlan& plan);

  int batch() const { return batch_; }  // units that read() takes at most
  // errors: [units of the tensor] what encoding changed is added for each unit read. Throws Error(bad_data) for a value
  // that cannot be quantized.
  const StoredUnits& read(UnitRange units, std::span<EncodingError> errors);

 private:
  // Rows of one source tensor that go to `units`: source row and column of the first, and its row in the slot.
  struct Strip {
    const SourceTensor* tensor;
    int64_t first_row, rows, slot_row, first_column, columns;
    UnitRange units;
  };
  std::vector<Strip> strips_of(UnitRange units) const;
  void read_strip(const Strip& strip);
  void take_row(const Strip& strip, int64_t row, const std::byte* source);
  void deliver(int unit, int64_t unit_row, int64_t column, int64_t columns);
  int64_t stored_row(int64_t row) const;

  const TensorPlan& plan_;
  const TensorInfo& tensor_;
  int64_t head_rows_ = 0;  // rows of a rotary head; 0: none
  int batch_ = 1;
  Buffer memory_;    // [batch] units, part after part
  Buffer band_;      // source rows
  Buffer split_[3];  // one row of blocks, come apart
  Buffer row_;       // [columns] the same in FP32, when it is encoded anew
  UnitRange reading_;
  std::span<EncodingError> errors_;
  StoredUnits stored_;
};

}  // namespace trireme
