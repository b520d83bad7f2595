#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "checkpoint/weight_source.h"
#include "device/device.h"
#include "kernels/kernels.h"
#include "model/units.h"

namespace trireme {

// Where a rank stands in the model: its tensor-parallel share of the layers of its pipeline stage.
struct StagePlace {
  int tp = 1, tp_rank = 0;
  int first_layer = 0, end_layer = 0;
  bool first = true;  // embeds
  bool last = true;   // norm, head, sample
};

// Column-parallel matrices over the same input, side by side in one output: q, k, v; gate, up. Neighbours of one packed
// form are one matrix.
struct Projection {
  struct Part {
    PackedView w;              // [n, k]
    int64_t first_output = 0;  // column of the output
  };
  std::vector<Part> parts;
  int64_t outputs = 0;
};

// A layer's share of one rank. Vectors that the family does not have are empty.
struct LayerWeights {
  std::span<const float> attention_norm;       // [hidden]
  Projection qkv;                              // [(heads + 2 kv_heads) * head_dim, hidden], of the heads held
  std::span<const float> qkv_bias;             // [outputs of qkv]
  std::span<const float> q_norm, k_norm;       // [head_dim], or [heads held * head_dim] and [kv_heads held * head_dim]
  PackedView o;                                // [hidden, heads * head_dim]
  std::span<const float> o_bias;               // [hidden]
  std::span<const float> post_attention_norm;  // [hidden]
  std::span<const float> mlp_norm;             // [hidden]
  PackedView router;                           // [experts, hidden]
  Projection gate_up;                    // [2 * intermediate, hidden], of the columns held, or of each expert held
  std::span<const float> gate_up_bias;   // [outputs of gate_up]
  PackedView down;                       // [hidden, intermediate], likewise
  std::span<const float> down_bias;      // [hidden]
  std::span<const float> post_mlp_norm;  // [hidden]
};

// One rank's weights of one stage, packed for the kernels. Owns the memory.
class StageWeights {
 public:
  // Reads this rank's units, and nothing else, from the source. fast: for products of the device's library.
  StageWeights(const WeightSource& source, const ModelConfig& config, const UnitTable& units, const StagePlace& place,
               Packing packing, Device& device);

  PackedView embedding;               // [tokens held, hidden]; first stage
  std::vector<LayerWeights> layers;   // of this stage
  std::span<const float> final_norm;  // [hidden]; last stage
  PackedView head;                    // [tokens held, hidden]; last stage; the embedding when tied

  size_t bytes() const { return memory_.bytes(); }

  // Bytes that a rank at `place` will hold, from the source's table of tensors alone.
  static int64_t packed_bytes_of(const WeightSource& source, const ModelConfig& config, const UnitTable& units,
                                 const StagePlace& place, Packing packing);

 private:
  StageWeights() = default;
  Buffer memory_;
};

// The quantization group of the row-parallel weights (1 if plain): what the unit table was made with.
int row_parallel_group(const WeightSource& source);

}  // namespace trireme
