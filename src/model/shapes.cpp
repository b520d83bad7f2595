#include "model/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"

namespace trireme {

namespace {

constexpr int64_t kLlama3Positions = 8192;  // "original_max_position_embeddings" of Llama 3.1 and 3.2

// Published on huggingface.co: llama by meta-llama, mistral and mixtral by mistralai (v0.3, v0.1), qwen by Qwen (2.5:
// the Instruct models), smollm2 by HuggingFaceTB. gpt-530b is Megatron-Turing NLG 530B (arXiv 2201.11990): layers,
// hidden size, heads and context are its own. It is taken as a block of this program: RMS norms, RoPE, no biases, and
// in place of an MLP of two matrices of 4 * 20480 columns one of three matrices of 54624, which have as many
// parameters.
// clang-format off
constexpr ModelShape kShapes[] = {
  // name, model_type, hidden, intermediate, layers, heads, KV heads, head_dim, vocabulary, positions, theta, factor, eps, tied, qkv_bias, qk_norm, experts, of a token
  {"smollm2-135m",   "llama",     576,   1536,  30,   9,   3,  64,  49152,   8192, 1e5,  0, 1e-5, true,  false, QkNorm::none},
  {"llama-2-7b",     "llama",    4096,  11008,  32,  32,  32, 128,  32000,   4096, 1e4,  0, 1e-5, false, false, QkNorm::none},
  {"llama-2-13b",    "llama",    5120,  13824,  40,  40,  40, 128,  32000,   4096, 1e4,  0, 1e-5, false, false, QkNorm::none},
  {"llama-2-70b",    "llama",    8192,  28672,  80,  64,   8, 128,  32000,   4096, 1e4,  0, 1e-5, false, false, QkNorm::none},
  {"llama-3.2-1b",   "llama",    2048,   8192,  16,  32,   8,  64, 128256, 131072, 5e5, 32, 1e-5, true,  false, QkNorm::none},
  {"llama-3.2-3b",   "llama",    3072,   8192,  28,  24,   8, 128, 128256, 131072, 5e5, 32, 1e-5, true,  false, QkNorm::none},
  {"llama-3.1-8b",   "llama",    4096,  14336,  32,  32,   8, 128, 128256, 131072, 5e5,  8, 1e-5, false, false, QkNorm::none},
  {"llama-3.1-70b",  "llama",    8192,  28672,  80,  64,   8, 128, 128256, 131072, 5e5,  8, 1e-5, false, false, QkNorm::none},
  {"llama-3.1-405b", "llama",   16384,  53248, 126, 128,   8, 128, 128256, 131072, 5e5,  8, 1e-5, false, false, QkNorm::none},
  {"mistral-7b",     "mistral",  4096,  14336,  32,  32,   8, 128,  32768,  32768, 1e6,  0, 1e-5, false, false, QkNorm::none},
  {"qwen2.5-0.5b",   "qwen2",     896,   4864,  24,  14,   2,  64, 151936,  32768, 1e6,  0, 1e-6, true,  true,  QkNorm::none},
  {"qwen2.5-7b",     "qwen2",    3584,  18944,  28,  28,   4, 128, 152064,  32768, 1e6,  0, 1e-6, false, true,  QkNorm::none},
  {"qwen2.5-72b",    "qwen2",    8192,  29568,  80,  64,   8, 128, 152064,  32768, 1e6,  0, 1e-6, false, true,  QkNorm::none},
  {"qwen3-8b",       "qwen3",    4096,  12288,  36,  32,   8, 128, 151936,  40960, 1e6,  0, 1e-6, false, false, QkNorm::head},
  {"qwen3-32b",      "qwen3",    5120,  25600,  64,  64,   8, 128, 151936,  40960, 1e6,  0, 1e-6, false, false, QkNorm::head},
  {"qwen3-30b-a3b",  "qwen3_moe", 2048,   768,  48,  32,   4, 128, 151936,  40960, 1e6,  0, 1e-6, false, false, QkNorm::head, 128, 8},
  {"mixtral-8x7b",   "mixtral",  4096,  14336,  32,  32,   8, 128,  32000,  32768, 1e6,  0, 1e-5, false, false, QkNorm::none, 8, 2},
  {"gpt-530b",       "llama",   20480,  54624, 105, 128, 128, 160,  51200,   2048, 1e4,  0, 1e-5, true,  false, QkNorm::none},
};
// clang-format on

}  // namespace

ModelConfig ModelShape::config() const {
  ModelConfig c;
  c.model_type = model_type;
  c.hidden_size = hidden_size, c.intermediate_size = intermediate_size;
  c.num_layers = num_layers, c.num_heads = num_heads, c.num_kv_heads = num_kv_heads, c.head_dim = head_dim;
  c.vocab_size = vocab_size, c.max_positions = max_positions;
  c.rms_norm_eps = rms_norm_eps;
  c.tie_word_embeddings = tie_word_embeddings, c.qkv_bias = qkv_bias, c.qk_norm = qk_norm;
  c.num_experts = num_experts, c.experts_per_token = experts_per_token;
  c.norm_topk_prob = num_experts > 0;  // of both families that are here
  RopeConfig rope{.theta = rope_theta, .rotary = head_dim};
  if (rope_factor != 0)
    rope.scaling = RopeScaling::llama3, rope.factor = rope_factor, rope.original_positions = kLlama3Positions;
  c.ropes = {rope};
  c.layer_ropes.assign(static_cast<size_t>(num_layers), 0);
  c.layer_windows.assign(static_cast<size_t>(num_layers), 0);
  c.check(name);
  return c;
}

std::span<const ModelShape> model_shapes() { return kShapes; }

const ModelShape& get_shape(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto* found = std::find_if(std::begin(kShapes), std::end(kShapes), [&](auto& s) { return s.name == lower; });
  if (found != std::end(kShapes)) return *found;
  std::vector<std::string> names;
  for (const ModelShape& shape : kShapes) names.emplace_back(shape.name);
  fail(ExitCode::usage, "--shape: there is no shape '{}'{}; there are {}", name, did_you_mean(lower, names),
       fmt::join(names, ", "));
}

}  // namespace trireme
