#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/config.h"
#include "model/units.h"

namespace trireme {

// A tensor of the architecture: what it is called here and in a GGUF file, its shape, and how it is cut into units.
struct TensorSlot {
  std::string name;       // "layers.0.attention.q"
  std::string gguf_name;  // "blk.0.attn_q.weight"
  int64_t rows = 0, columns = 0;
  UnitAxis axis = UnitAxis::none;
  int64_t unit = 0;    // rows or columns of a unit, along the axis
  int rope_heads = 0;  // > 0: rows are this many heads, whose rotary pairs GGUF interleaves
};

// All tensors of a model, in the order in which they stand in a checkpoint: embedding, layers, final norm, head.
std::vector<TensorSlot> tensor_slots(const ModelConfig& config, const UnitTable& units);
// The slot as stored in a format.
TensorInfo tensor_info(const TensorSlot& slot, const WeightFormat& format);

}  // namespace trireme
