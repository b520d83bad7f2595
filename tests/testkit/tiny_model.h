#pragma once

#include <cstdint>
#include <string>

#include "testkit/gguf_writer.h"

namespace trireme::testkit {

// A random llama or mixtral of any odd shape, as a GGUF file with a byte-level BPE tokenizer and a chat template.
// Weights are scaled so that attention is sharp and logits are lively: a wrong kernel, border or order shows in the
// tokens.
struct TinyModel {
  int layers = 3;
  int heads = 9;
  int kv_heads = 3;
  int head_dim = 16;
  int hidden = 144;
  int intermediate = 200;  // of each expert, where there are any
  int experts = 0;
  int experts_used = 2;  // by a token
  int vocab = 259;
  int context = 2048;
  // f32, f16, bf16, q8_0, q4_0, q4_1 (columns in multiples of 32), q4_k, q6_k, q4_k_m (a mix; multiples of 256)
  std::string type = "f32";
  bool tied = false;
  uint64_t seed = 1;

  GgufWriter writer() const;  // throws std::invalid_argument for an impossible shape
};

}  // namespace trireme::testkit
