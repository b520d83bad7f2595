#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace trireme {

inline constexpr int kMaxLayers = 4096;  // far above any published model

enum class RopeScaling : uint8_t { none, linear, llama3, yarn, longrope, divisors };

// One set of rotary frequencies (model/rope.h has the formulas). Names as in transformers' rope_parameters.
struct RopeConfig {
  double theta = 10000;
  int rotary = 0;  // values of a head that are turned: head_dim * partial_rotary_factor
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double attention_factor = 1;      // yarn, longrope: multiplies cosines and sines
  int64_t original_positions = 0;   // llama3, yarn, longrope: "original_max_position_embeddings"
  double low_freq_factor = 1;       // llama3
  double high_freq_factor = 4;      // llama3
  double beta_fast = 32;            // yarn
  double beta_slow = 1;             // yarn
  bool truncate = true;             // yarn
  std::vector<double> divisors;     // [rotary / 2] longrope: short_factor; divisors: what a GGUF's tensor holds
  std::vector<double> long_factor;  // [rotary / 2] longrope, for sequences longer than original_positions
};

// A norm on q and k: none, each head by itself (Qwen 3), or the whole row of all heads (OLMo 2).
enum class QkNorm : uint8_t { none, head, row };

// The shape of a model and every feature in which the families differ, each a field of its own: nothing here or below
// asks for a family's name. Read from a checkpoint's config (from_json) or made from what others publish
// (transformers_config.h), checked once, then trusted.
struct ModelConfig {
  std::string model_type = "llama";  // for people, and for the names of tensors in a source
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of the MLP, or of each expert
  int num_layers = 0;             // "num_hidden_layers"
  int num_heads = 0;              // "num_attention_heads"
  int num_kv_heads = 0;           // "num_key_value_heads"
  int head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;  // "max_position_embeddings": the model's context
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;

  std::vector<RopeConfig> ropes;       // sets of frequencies: one, or two (Gemma 3)
  std::vector<int> layer_ropes;        // [num_layers] which of them; -1: no RoPE in this layer
  std::vector<int64_t> layer_windows;  // [num_layers] positions that a row sees, its own included; 0: all
  double attention_scale = 0;          // of scores; 0: 1 / sqrt(head_dim)
  double attention_softcap = 0;        // 0: none
  QkNorm qk_norm = QkNorm::none;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;

  bool pre_norm = true;    // before attention and MLP
  bool post_norm = false;  // after them, before the residual
  Activation activation = Activation::silu;
  double embedding_multiplier = 1, residual_multiplier = 1;
  double logits_scaling = 1;  // logits are divided by it
  double final_softcap = 0;   // of logits, after that; 0: none

  int num_experts = 0;          // 0: a plain MLP
  int experts_per_token = 0;    // "num_experts_per_tok"
  bool norm_topk_prob = false;  // the weights of a token's experts are divided by their sum

  int32_t bos_token_id = -1;  // -1: none
  std::vector<int32_t> eos_token_ids;
  bool add_bos = false;  // the tokenizer puts BOS before a raw completion

  // Throws Error(bad_data) naming `source`, the field, what was seen and what is possible: every count positive and in
  // range, num_heads a multiple of num_kv_heads, nothing in the config that we would silently ignore.
  static ModelConfig from_json(const nlohmann::json& json, const std::string& source);
  nlohmann::json to_json() const;
  void check(const std::string& source) const;

  int group_size() const { return num_heads / num_kv_heads; }  // query heads that share a KV head
  // Columns of the MLP's units, all experts' side by side.
  int64_t mlp_columns() const { return intermediate_size * (num_experts > 0 ? num_experts : 1); }
  // Sequences longer than this turn by the long set of a longrope; 0: there is none.
  int64_t long_rope_from() const;
};

}  // namespace trireme
