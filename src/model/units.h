#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/unit_tree.h"
#include "model/config.h"

namespace trireme {

inline constexpr int kUnitFormulaVersion = 1;  // part of the numerics fingerprint and of every checkpoint

// How a model is cut into units (docs/concepts.md). About 32 a layer, of the hidden row 8; a border never cuts a
// quantization group.
struct UnitTable {
  int attention_units = 0;
  int64_t heads_per_unit = 0;    // query heads; the last unit may have fewer
  int mlp_units = 0;             // with experts: one for each
  int64_t columns_per_unit = 0;  // intermediate columns; the last unit may have fewer
  int64_t chain_columns = 0;  // of the contraction inside an expert, which no rank border cuts; else columns_per_unit
  int vocab_units = 0;
  int64_t rows_per_unit = 0;        // vocabulary rows; the last unit may have fewer
  int64_t hidden_unit_columns = 0;  // of the contraction over the hidden row, which no rank border cuts

  // group: columns that share a scale in the row-parallel weights (1 when not quantized).
  static UnitTable of(const ModelConfig& config, int group);
};

// The one function that decides ownership: borders [parts + 1] of contiguous ranges over `units`. Powers of two own the
// nodes of one depth of the unit tree (one root each); other widths get the borders with the fewest roots among those
// whose largest share is the smallest possible, or one unit more where a rank holds eight or more. Empty ranges only
// when parts > units.
std::vector<int> unit_borders(int units, int parts);
UnitRange units_of(int units, int parts, int part);

// Layers of a pipeline stage: borders [pp + 1]; the first num_layers % pp stages hold one more. `split`: layers of each
// stage as given by --stage-split, or empty.
std::vector<int> layer_borders(int num_layers, int pp, const std::vector<int>& split);

// What one rank of a TP group holds of every layer and of the vocabulary.
struct RankShare {
  UnitRange attention, mlp, vocab;          // units
  int first_head = 0, num_heads = 0;        // query heads
  int first_kv_head = 0, num_kv_heads = 0;  // the KV heads those share; at a border both ranks hold one
  int64_t intermediate = 0;                 // columns, of all experts held
  int64_t first_token = 0, num_tokens = 0;  // vocabulary rows, without padding

  static RankShare of(const ModelConfig& config, const UnitTable& units, int tp, int tp_rank);
};

}  // namespace trireme
