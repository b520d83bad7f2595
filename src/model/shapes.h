#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "model/config.h"

namespace trireme {

// The shape of a well-known model: what its published config.json says, as far as it decides cost.
struct ModelShape {
  const char* name;                        // "llama-3.1-8b", as users write it
  const char* model_type;                  // "llama"
  int64_t hidden_size, intermediate_size;  // of an expert, where there are any
  int num_layers, num_heads, num_kv_heads, head_dim;
  int64_t vocab_size, max_positions;
  double rope_theta;
  double rope_factor;  // of llama3's scaling from 8192 positions on; 0: none
  double rms_norm_eps;
  bool tie_word_embeddings, qkv_bias;
  QkNorm qk_norm;
  int num_experts = 0, experts_per_token = 0;

  ModelConfig config() const;
};

std::span<const ModelShape> model_shapes();  // by family, the smallest of each first
// In capitals, too. Throws Error(usage) naming --shape, the nearest and all that there are.
const ModelShape& get_shape(std::string_view name);

}  // namespace trireme
