#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace trireme {

// The shape of a model, under transformers' names. Read from a checkpoint's config, checked once, then trusted.
struct ModelConfig {
  std::string model_type = "llama";
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int num_layers = 0;    // "num_hidden_layers"
  int num_heads = 0;     // "num_attention_heads"
  int num_kv_heads = 0;  // "num_key_value_heads"
  int head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;  // "max_position_embeddings": the model's context
  double rope_theta = 10000;
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;
  int32_t bos_token_id = -1;  // -1: none
  std::vector<int32_t> eos_token_ids;
  bool add_bos = false;  // the tokenizer puts BOS before a raw completion

  // Throws Error(bad_data) naming `source`, the field, what was seen and what is possible: every count positive and in
  // range, num_heads a multiple of num_kv_heads, head_dim even, nothing in the config that we would silently ignore.
  static ModelConfig from_json(const nlohmann::json& json, const std::string& source);
  nlohmann::json to_json() const;
  void check(const std::string& source) const;

  int group_size() const { return num_heads / num_kv_heads; }  // query heads that share a KV head
};

}  // namespace trireme
