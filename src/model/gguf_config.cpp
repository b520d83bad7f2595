#include "model/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "model/gguf_keys.h"
#include "model/gguf_rope.h"
#include "model/gguf_tokenizer.h"

namespace trireme {

namespace {

using nlohmann::json;

constexpr int64_t kMaxLayers = 4096;  // of a list with an entry a layer

// One file on its way to a config.
struct Reader {
  const Gguf& gguf;
  GgufKeys keys;
  json config = json::object();
  int64_t hidden = 0, heads = 0, head_dim = 0, layers = 0;

  bool has_tensor(const char* name) const { return gguf.find_tensor(name) != nullptr; }
};

// What every architecture has.
void read_shape(Reader& r) {
  GgufKeys& keys = r.keys;
  r.hidden = keys.get<int64_t>("embedding_length");
  r.layers = keys.get<int64_t>("block_count");
  r.heads = keys.get<int64_t>("attention.head_count");
  r.head_dim = keys.find<int64_t>("attention.key_length").value_or(r.heads > 0 ? r.hidden / r.heads : 0);
  const GgufTensor* embedding = r.gguf.find_tensor("token_embd.weight");
  if (!embedding) fail(ExitCode::bad_data, "{}: the tensor token_embd.weight is missing", r.gguf.path());
  r.config["hidden_size"] = r.hidden;
  r.config["intermediate_size"] = keys.get<int64_t>("feed_forward_length");
  r.config["num_hidden_layers"] = r.layers;
  r.config["num_attention_heads"] = r.heads;
  r.config["num_key_value_heads"] = keys.find<int64_t>("attention.head_count_kv").value_or(r.heads);
  r.config["head_dim"] = r.head_dim;
  r.config["vocab_size"] = embedding->rows;
  r.config["max_position_embeddings"] = keys.get<int64_t>("context_length");
  r.config["rms_norm_eps"] = keys.get<double>("attention.layer_norm_rms_epsilon");
  r.config["tie_word_embeddings"] = !r.has_tensor("output.weight");
  keys.only("vocab_size", embedding->rows);
  for (const char* key : {"attention.value_length", "attention.key_length_swa", "attention.value_length_swa"})
    keys.only(key, r.head_dim);
  keys.only("attention.causal", true);
  keys.only("use_parallel_residual", false);
  for (const char* key : {"pooling_type", "nextn_predict_layers", "expert_shared_count", "expert_group_count"})
    keys.only(key, int64_t{0});
  keys.without_effect("tensor_data_layout");  // of the file that the GGUF was made from
}

// All of a head turns.
void read_rope(Reader& r) {
  r.keys.only("rope.dimension_count", r.head_dim);
  r.keys.only("rope.dimension_count_swa", r.head_dim);
  r.config["rope_parameters"] = gguf_rope_parameters(r.keys, r.head_dim);
}

void read_no_experts(Reader& r) {
  r.keys.only("expert_count", int64_t{0});
  r.keys.only("expert_used_count", int64_t{0});
}

// Softmax over all experts, the chosen ones' weights scaled to sum 1: what llama.cpp does for these architectures.
void read_experts(Reader& r, const char* count_field) {
  r.config[count_field] = r.keys.get<int64_t>("expert_count");
  r.config["num_experts_per_tok"] = r.keys.get<int64_t>("expert_used_count");
  r.keys.only("expert_gating_func", int64_t{1});
  r.keys.only("expert_weights_norm", true);
  r.keys.only("expert_weights_scale", 1.0);
}

void read_biases(Reader& r) {
  r.config["attention_bias"] = r.has_tensor("blk.0.attn_q.bias") || r.has_tensor("blk.0.attn_qkv.bias");
  r.config["mlp_bias"] = r.has_tensor("blk.0.ffn_up.bias");
}

// True for all layers but every `period`-th one (0: for all), unless the file has a pattern of its own under `key`.
std::vector<bool> layer_pattern(Reader& r, int64_t period, const char* key) {
  if (r.layers < 1 || r.layers > kMaxLayers)
    r.keys.refuse("block_count", fmt::format("is {}; 1 to {} are possible", r.layers, kMaxLayers));
  const GgufValue* value = key ? r.keys.find_value(key) : nullptr;
  if (value && std::holds_alternative<std::vector<bool>>(*value)) {
    const auto& pattern = std::get<std::vector<bool>>(*value);
    if (static_cast<int64_t>(pattern.size()) != r.layers)
      r.keys.refuse(key, fmt::format("has {} elements for {} layers", pattern.size(), r.layers));
    return pattern;
  }
  if (value) period = r.keys.get<int64_t>(key);
  if (period < 0) r.keys.refuse(key, fmt::format("is {}", period));
  std::vector<bool> pattern;
  for (int64_t i = 0; i < r.layers; i++) pattern.push_back(period == 0 || i % period < period - 1);
  return pattern;
}

json layer_types(Reader& r, int64_t period, int64_t window) {
  constexpr const char* key = "attention.sliding_window_pattern";
  if (window == 0) r.keys.without_effect(key);
  json types = json::array();
  for (bool windowed : window == 0 ? layer_pattern(r, 1, nullptr) : layer_pattern(r, period, key))
    types.push_back(windowed ? "sliding_attention" : "full_attention");
  return types;
}

void read_llama(Reader& r) {
  bool experts = r.keys.find<int64_t>("expert_count").value_or(0) != 0;
  int64_t window = r.keys.find<int64_t>("attention.sliding_window").value_or(0);
  if (experts) r.config["model_type"] = "mixtral";
  if (!experts && window != 0) r.config["model_type"] = "mistral";
  if (window != 0) r.config["sliding_window"] = window;
  if (experts)
    read_experts(r, "num_local_experts");
  else
    read_no_experts(r);
  if (!experts && window == 0) read_biases(r);
  read_rope(r);
}

void read_smollm3(Reader& r) {
  constexpr int64_t period = 4;  // every fourth layer has no rotary embeddings
  r.config["no_rope_layer_interval"] = period;
  json turned = json::array();
  for (bool turns : layer_pattern(r, period, nullptr)) turned.push_back(turns ? 1 : 0);
  r.config["no_rope_layers"] = turned;
  read_biases(r);
  read_no_experts(r);
  read_rope(r);
}

void read_qwen2(Reader& r) {
  read_no_experts(r);
  read_rope(r);
}

void read_qwen3(Reader& r) {
  r.config["attention_bias"] = r.has_tensor("blk.0.attn_q.bias");
  read_no_experts(r);
  read_rope(r);
}

void read_qwen3_moe(Reader& r) {
  r.config["attention_bias"] = r.has_tensor("blk.0.attn_q.bias");
  read_experts(r, "num_experts");
  r.config["moe_intermediate_size"] = r.keys.get<int64_t>("expert_feed_forward_length");
  r.config["norm_topk_prob"] = true;
  r.config["decoder_sparse_step"] = 1;
  r.config["mlp_only_layers"] = json::array();
  read_rope(r);
}

// Scores are divided by the square root of this: the head's size, but in the 27B models, told by their layers, the
// share of the hidden row.
int64_t query_scalar(const Reader& r, int64_t layers_of_27b) {
  return r.layers == layers_of_27b && r.heads > 0 ? r.hidden / r.heads : r.head_dim;
}

void read_gemma2(Reader& r) {
  r.config["query_pre_attn_scalar"] = query_scalar(r, 46);
  r.config["attn_logit_softcapping"] = r.keys.find<double>("attn_logit_softcapping").value_or(50);
  r.config["final_logit_softcapping"] = r.keys.find<double>("final_logit_softcapping").value_or(30);
  r.config["sliding_window"] = r.keys.find<int64_t>("attention.sliding_window").value_or(4096);
  r.config["layer_types"] = layer_types(r, 2, 1);
  read_no_experts(r);
  read_rope(r);
  r.keys.only("rope.freq_base_swa", r.config["rope_parameters"]["rope_theta"].get<double>());
}

// Scaling is for the layers that see everything; those with a window have a base of their own.
void read_gemma3(Reader& r) {
  r.config["query_pre_attn_scalar"] = query_scalar(r, 62);
  r.config["attn_logit_softcapping"] = nullptr;
  auto cap = r.keys.find<double>("final_logit_softcapping");
  r.config["final_logit_softcapping"] = cap && *cap != 0 ? json(*cap) : json();
  int64_t window = r.keys.find<int64_t>("attention.sliding_window").value_or(0);
  r.config["sliding_window"] = window != 0 ? json(window) : json();
  r.config["layer_types"] = layer_types(r, 6, window);
  read_no_experts(r);
  read_rope(r);
  r.keys.get<double>("rope.freq_base");  // 10000 would be a guess
  json local = {{"rope_type", "default"}, {"rope_theta", r.keys.find<double>("rope.freq_base_swa").value_or(10000)}};
  r.config["rope_parameters"] = {{"sliding_attention", local}, {"full_attention", r.config["rope_parameters"]}};
}

void read_phi3(Reader& r) {
  int64_t rotary = r.keys.find<int64_t>("rope.dimension_count").value_or(r.head_dim);
  if (rotary < 2 || rotary > r.head_dim || rotary % 2 != 0)
    r.keys.refuse("rope.dimension_count",
                  fmt::format("is {}; even numbers from 2 to the head's {} are possible", rotary, r.head_dim));
  r.config["rope_parameters"] = gguf_rope_parameters(r.keys, rotary);
  double whole = static_cast<double>(r.head_dim), part = static_cast<double>(rotary) / whole;
  if (part * whole < static_cast<double>(rotary)) part = std::nextafter(part, 1);  // users of it round down
  if (rotary != r.head_dim) r.config["rope_parameters"]["partial_rotary_factor"] = part;
  int64_t window = r.keys.find<int64_t>("attention.sliding_window").value_or(0);
  r.config["sliding_window"] = window != 0 ? json(window) : json();
  read_no_experts(r);
}

void read_granite(Reader& r) {
  auto given = [&r](const char* key) {
    auto value = r.keys.find<double>(key);
    return value && *value != 0 ? value : std::nullopt;
  };
  auto scale = given("attention.scale");
  if (!scale && r.head_dim > 0) scale = 1 / std::sqrt(static_cast<double>(r.head_dim));
  r.config["attention_multiplier"] = scale.value_or(1);
  r.config["embedding_multiplier"] = given("embedding_scale").value_or(1);
  r.config["residual_multiplier"] = given("residual_scale").value_or(1);
  r.config["logits_scaling"] = r.keys.get<double>("logit_scale");
  r.keys.only("rope.scaling.finetuned", true);  // llama.cpp reads false as: no rotary embeddings
  read_biases(r);
  read_no_experts(r);
  read_rope(r);
}

void read_olmo2(Reader& r) {
  r.config["attention_bias"] = r.has_tensor("blk.0.attn_q.bias");
  r.keys.only("attention.sliding_window", int64_t{0});  // OLMo 3
  read_no_experts(r);
  read_rope(r);
}

// Tensors of each architecture, as llama.cpp's conversion names and orders them. All have token_embd.weight and
// output_norm.weight; output.weight unless the head is tied. Of layer N, blk.N.X.weight with X:
//   L = attn_norm attn_q attn_k attn_v attn_output ffn_norm ffn_gate ffn_up ffn_down
//   llama      L; with attention_bias .bias of attn_q, attn_k, attn_v, attn_output; with mlp_bias of ffn_gate, ffn_up,
//              ffn_down. Rows of q and k, and their biases, are interleaved: pair (i, i + half) stands in 2 i, 2 i + 1
//   mixtral    (architecture llama) L without ffn_gate, ffn_up, ffn_down; ffn_gate_inp [experts, hidden],
//              ffn_gate_exps and ffn_up_exps [experts * intermediate, hidden],
//              ffn_down_exps [experts * hidden, intermediate]; interleaved
//   smollm3    as llama, interleaved
//   granite    as llama, interleaved
//   qwen2      L, .bias of attn_q, attn_k, attn_v
//   qwen3      L, attn_q_norm and attn_k_norm [head_dim]
//   qwen3moe   L less its MLP, attn_q_norm and attn_k_norm [head_dim]; experts as mixtral, of moe_intermediate_size
//   gemma2     L, post_attention_norm, post_ffw_norm; ffn_norm is transformers' pre_feedforward_layernorm. All norms
//              have 1 added already. No output.weight
//   gemma3     as gemma2, and attn_q_norm and attn_k_norm [head_dim], 1 added too
//   phi3       attn_norm attn_qkv (q, k, v rows) attn_output ffn_norm ffn_up (gate, then up rows) ffn_down
//   olmo2      L without attn_norm, ffn_norm; post_attention_norm, post_ffw_norm, attn_q_norm [heads * head_dim],
//              attn_k_norm [kv_heads * head_dim]; not interleaved
struct Architecture {
  std::string_view name;        // in GGUF
  std::string_view model_type;  // in transformers; of "llama" unless its keys tell otherwise
  void (*read)(Reader&);
  bool gelu = false;
};
constexpr Architecture kArchitectures[] = {
    {"llama", "llama", read_llama},
    {"qwen2", "qwen2", read_qwen2},
    {"qwen3", "qwen3", read_qwen3},
    {"qwen3moe", "qwen3_moe", read_qwen3_moe},
    {"gemma2", "gemma2", read_gemma2, true},
    {"gemma3", "gemma3_text", read_gemma3, true},
    {"phi3", "phi3", read_phi3},
    {"granite", "granite", read_granite},
    {"olmo2", "olmo2", read_olmo2},
    {"smollm3", "smollm3", read_smollm3},
};

// Tokens that end a turn. A file names one of them at most, but a chat template may write another.
constexpr std::string_view kTurnEnds[] = {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"};

void add_special_tokens(Reader& r) {
  const Gguf& gguf = r.gguf;
  int64_t vocab_size = r.config["vocab_size"].get<int64_t>();
  std::vector<int64_t> ends;
  auto add_end = [&ends](int64_t id) {
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  };
  auto token = [&](const char* key) {
    const int64_t* id = gguf.find<int64_t>(key);
    if (id && (*id < 0 || *id >= vocab_size))
      fail(ExitCode::bad_data, "{}: {} is {}, outside the vocabulary of {}", gguf.path(), key, *id, vocab_size);
    return id;
  };
  if (const int64_t* id = token("tokenizer.ggml.bos_token_id")) r.config["bos_token_id"] = *id;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    if (const int64_t* id = token(key)) add_end(*id);
  const auto* tokens = gguf.find<std::vector<std::string>>("tokenizer.ggml.tokens");
  const auto* text = gguf.find<std::string>("tokenizer.chat_template");
  for (std::string_view end : kTurnEnds) {
    if (!tokens || !text || text->find(end) == std::string::npos) continue;
    auto found = std::find(tokens->begin(), tokens->end(), end);
    if (found != tokens->end() && found - tokens->begin() < vocab_size) add_end(found - tokens->begin());
  }
  r.config["eos_token_id"] = ends;
  r.config["add_bos_token"] = gguf_adds_bos(gguf);
}

}  // namespace

std::string supported_gguf_architectures() {
  std::string names;
  for (const Architecture& a : kArchitectures) names += fmt::format("{}{}", names.empty() ? "" : ", ", a.name);
  return names;
}

json gguf_config_json(const Gguf& gguf) {
  const std::string& name = gguf.get<std::string>("general.architecture");
  const auto* known = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                   [&name](const Architecture& a) { return a.name == name; });
  if (known == std::end(kArchitectures))
    fail(ExitCode::bad_data, "{}: general.architecture is {}; this version runs: {}", gguf.path(), name,
         supported_gguf_architectures());
  Reader r{gguf, GgufKeys(gguf, name)};
  r.config["model_type"] = known->model_type;
  if (known->gelu)
    r.config["hidden_activation"] = "gelu_pytorch_tanh";
  else
    r.config["hidden_act"] = "silu";
  read_shape(r);
  known->read(r);
  r.keys.check_rest();
  add_special_tokens(r);
  return r.config;
}

}  // namespace trireme
