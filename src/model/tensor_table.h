#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/weight_source.h"
#include "model/config.h"
#include "model/units.h"

namespace trireme {

// Where a slot's values stand in a source: consecutive rows of a named tensor that has `of_rows` rows in all (its outer
// dimensions multiplied), so that fused tensors (q, k and v in one) are slices.
struct SourceSlice {
  std::string name;
  int64_t first_row = 0, of_rows = 0;
};

// A tensor of the architecture: what it is called here, in a Hugging Face folder and in a GGUF file, its shape, and how
// it is cut into units.
struct TensorSlot {
  std::string name;  // "layers.0.attention.q"
  // One slice with all rows; or, for experts, one for each unit of the slot, with that unit's rows and columns.
  std::vector<SourceSlice> hf, gguf;
  int64_t rows = 0, columns = 0;
  UnitAxis axis = UnitAxis::none;
  int64_t unit = 0;         // rows or columns of a unit, along the axis
  int gguf_rope_heads = 0;  // > 0: rows are this many heads, whose rotary pairs this family's GGUF interleaves
  float hf_offset = 0;      // added to every value, in FP32: Gemma's norms are stored less 1 in a folder, not in a GGUF
};

// All tensors of a model, in the order in which they stand in a checkpoint: embedding, layers, final norm, head.
std::vector<TensorSlot> tensor_slots(const ModelConfig& config, const UnitTable& units);
// Whether a tensor is the experts', of which a row takes some.
bool is_experts(const ModelConfig& config, std::string_view name, UnitAxis axis);
// The slot as stored in a format.
TensorInfo tensor_info(const TensorSlot& slot, const WeightFormat& format);

}  // namespace trireme
