#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"

namespace trireme {

// The rows of one step, equal on every rank of a replica. All arrays belong to the caller.
struct StepBatch {
  std::span<const int32_t> tokens;       // [rows]
  std::span<const int32_t> angles;       // [rows] row of the RoPE table: the position, or that in the long set
  std::span<const int64_t> slots;        // [rows] where K and V go
  std::span<const AttentionSpan> spans;  // cover every row once, in order
};

// How large a step may be; every buffer is sized by it at start.
struct StepLimits {
  int64_t rows = 0;        // tokens of a step
  int64_t logit_rows = 0;  // rows whose logits are computed at once
  int64_t whole_rows = 0;  // of these, rows of which all logits are shown to the group
};

}  // namespace trireme
