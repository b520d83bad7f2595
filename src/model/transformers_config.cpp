#include "model/transformers_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/config_reader.h"
#include "model/rope_config.h"

namespace trireme {

namespace {

using nlohmann::json;

// Which layers have a window: "layer_types" where it stands, else what the family says of layer i.
template <typename Slides>
void set_windows(ConfigReader& in, ModelConfig& c, int64_t window, const Slides& slides) {
  const std::vector<std::string> types = in.texts("layer_types");
  if (!types.empty() && std::ssize(types) != c.num_layers)
    in.refuse("layer_types", fmt::format("lists {} of {} layers", types.size(), c.num_layers));
  if (window < 0) in.refuse("sliding_window", fmt::format("is {}", window));
  for (int i = 0; i < c.num_layers; i++) {
    const size_t layer = static_cast<size_t>(i);
    if (!types.empty() && types[layer] != "sliding_attention" && types[layer] != "full_attention")
      in.refuse("layer_types", "names " + types[layer] + "; this version has full_attention and sliding_attention");
    const bool sliding = types.empty() ? slides(i) : types[layer] == "sliding_attention";
    if (!sliding) continue;
    if (window < 1) in.refuse("sliding_window", "is missing, but layers have one");
    c.layer_windows[layer] = window;
  }
}

void attention_bias(ConfigReader& in, ModelConfig& c) { c.qkv_bias = c.o_bias = in.boolean("attention_bias", false); }

void experts(ConfigReader& in, ModelConfig& c, const char* number, int otherwise) {
  c.num_experts = in.count(number, otherwise);
  if (c.num_experts < 1) in.refuse(number, "is not above 0");
  c.experts_per_token = in.count("num_experts_per_tok");
}

void read_llama(ConfigReader& in, ModelConfig& c) {
  attention_bias(in, c);
  c.mlp_bias = in.boolean("mlp_bias", false);
  in.only("rope_interleaved", false);
  in.only("use_sliding_window", false);
  in.ignore("max_window_layers");
  if (in.has("use_sliding_window"))
    in.ignore("sliding_window");  // left over from a Qwen, and off
  else
    in.only("sliding_window", nullptr);
}

void read_mistral(ConfigReader& in, ModelConfig& c) {
  in.only("attention_bias", false);
  const int64_t window = in.integer("sliding_window", in.has("sliding_window") ? 0 : 4096);
  set_windows(in, c, window, [&](int) { return window > 0; });
}

void read_mixtral(ConfigReader& in, ModelConfig& c) {
  in.only("attention_bias", false);
  const int64_t window = in.integer("sliding_window", 0);
  set_windows(in, c, window, [&](int) { return window > 0; });
  experts(in, c, "num_local_experts", 8);
  c.norm_topk_prob = true;
}

// Layers from "max_window_layers" on slide, if the config asks for windows at all.
void qwen_windows(ConfigReader& in, ModelConfig& c) {
  const bool wanted = in.boolean("use_sliding_window", false);
  const int64_t window = in.integer("sliding_window", in.has("sliding_window") ? 0 : 4096);
  const int64_t full = in.integer("max_window_layers", 28);
  set_windows(in, c, wanted ? window : 0, [&](int i) { return wanted && window > 0 && i >= full; });
}

void read_qwen2(ConfigReader& in, ModelConfig& c) {
  c.qkv_bias = true;
  in.only("attention_bias", true);
  in.only("use_mrope", false);
  qwen_windows(in, c);
}

void read_qwen3(ConfigReader& in, ModelConfig& c) {
  attention_bias(in, c);
  c.qk_norm = QkNorm::head;
  qwen_windows(in, c);
}

void read_qwen3_moe(ConfigReader& in, ModelConfig& c) {
  attention_bias(in, c);
  c.qk_norm = QkNorm::head;
  const int64_t window = in.boolean("use_sliding_window", false) ? in.integer("sliding_window", 4096) : 0;
  in.ignore("sliding_window");
  in.ignore("max_window_layers");
  set_windows(in, c, window, [&](int) { return window > 0; });
  experts(in, c, in.has("num_local_experts") ? "num_local_experts" : "num_experts", 128);
  c.intermediate_size = in.integer("moe_intermediate_size");
  c.norm_topk_prob = in.boolean("norm_topk_prob", false);
  in.only("decoder_sparse_step", 1);
  in.only("mlp_only_layers", json::array());
}

void read_smollm3(ConfigReader& in, ModelConfig& c) {
  attention_bias(in, c);
  c.mlp_bias = in.boolean("mlp_bias", false);
  const std::vector<int64_t> rope = in.integers("no_rope_layers");  // 1: this layer has RoPE
  const int64_t interval = in.integer("no_rope_layer_interval", 4);
  if (interval < 1) in.refuse("no_rope_layer_interval", "is not above 0");
  if (!rope.empty() && std::ssize(rope) != c.num_layers)
    in.refuse("no_rope_layers", fmt::format("lists {} of {} layers", rope.size(), c.num_layers));
  for (int i = 0; i < c.num_layers; i++) {
    const size_t layer = static_cast<size_t>(i);
    const bool turned = rope.empty() ? (i + 1) % interval != 0 : rope[layer] != 0;
    if (!turned) c.layer_ropes[layer] = -1;
  }
  const int64_t window = in.boolean("use_sliding_window", false) ? in.integer("sliding_window", 0) : 0;
  in.ignore("sliding_window");
  in.ignore("max_window_layers");
  set_windows(in, c, window, [&](int i) { return window > 0 && c.layer_ropes[static_cast<size_t>(i)] < 0; });
}

void gemma(ConfigReader& in, ModelConfig& c) {
  attention_bias(in, c);
  c.post_norm = true;
  c.embedding_multiplier = std::sqrt(static_cast<double>(c.hidden_size));
  const double scalar = in.real("query_pre_attn_scalar", 256);
  if (!(scalar > 0)) in.refuse("query_pre_attn_scalar", fmt::format("is {}", scalar));
  c.attention_scale = 1 / std::sqrt(scalar);
  in.only("use_bidirectional_attention", false);
}

void read_gemma2(ConfigReader& in, ModelConfig& c) {
  gemma(in, c);
  c.attention_softcap = in.real("attn_logit_softcapping", in.has("attn_logit_softcapping") ? 0 : 50);
  c.final_softcap = in.real("final_logit_softcapping", in.has("final_logit_softcapping") ? 0 : 30);
  set_windows(in, c, in.integer("sliding_window", 4096), [](int i) { return i % 2 == 0; });
}

void read_gemma3(ConfigReader& in, ModelConfig& c) {
  gemma(in, c);
  c.qk_norm = QkNorm::head;
  in.ignore("attn_logit_softcapping");  // transformers applies it in Gemma 2 only
  c.final_softcap = in.real("final_logit_softcapping", 0);
  const char* pattern_field = in.has("sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
  const int64_t pattern = in.integer(pattern_field, 6);
  if (pattern < 1) in.refuse(pattern_field, "is not above 0");
  in.ignore("_sliding_window_pattern");
  set_windows(in, c, in.integer("sliding_window", 4096), [&](int i) { return (i + 1) % pattern != 0; });
  for (size_t i = 0; i < c.layer_ropes.size(); i++) c.layer_ropes[i] = c.layer_windows[i] > 0 ? 1 : 0;
}

void read_phi3(ConfigReader& in, ModelConfig& c) {
  for (const char* field : {"attention_bias", "lm_head_bias", "mlp_bias"}) in.only(field, false);
  for (const char* field : {"full_attn_mod", "interpolate_factor"}) in.only(field, 1);
  const int64_t window = in.integer("sliding_window", 0);
  set_windows(in, c, window, [&](int) { return window > 0; });
}

void read_granite(ConfigReader& in, ModelConfig& c) {
  attention_bias(in, c);
  c.mlp_bias = in.boolean("mlp_bias", false);
  c.attention_scale = in.real("attention_multiplier", 1);
  c.embedding_multiplier = in.real("embedding_multiplier", 1);
  c.residual_multiplier = in.real("residual_multiplier", 1);
  c.logits_scaling = in.real("logits_scaling", 1);
}

void read_olmo2(ConfigReader& in, ModelConfig& c) {
  attention_bias(in, c);
  c.pre_norm = false;
  c.post_norm = true;
  c.qk_norm = QkNorm::row;
}

// A family: the defaults of its config class in transformers, and how its own fields read.
struct Family {
  std::string_view model_type;
  void (*read)(ConfigReader&, ModelConfig&);
  double rms_norm_eps = 1e-6;
  bool tied = false;
  int kv_heads = 0;  // 0: as many as heads
  int head_dim = 0;  // 0: hidden_size / heads
  double rope_theta = 10000;
  double local_theta = 0;  // layers with a window have their own RoPE
};
constexpr Family kFamilies[] = {
    {"llama", read_llama},
    {"mistral", read_mistral, 1e-6, false, 8},
    {"mixtral", read_mixtral, 1e-5, false, 8, 0, 1e6},
    {"smollm3", read_smollm3, 1e-6, true, 4, 0, 2e6},
    {"qwen2", read_qwen2, 1e-6, false, 32},
    {"qwen3", read_qwen3, 1e-6, false, 32, 128},
    {"qwen3_moe", read_qwen3_moe, 1e-6, false, 4},
    {"gemma2", read_gemma2, 1e-6, true, 4, 256},
    {"gemma3_text", read_gemma3, 1e-6, true, 4, 256, 1e6, 1e4},
    {"phi3", read_phi3, 1e-5},
    {"granite", read_granite},
    {"olmo2", read_olmo2, 1e-5},
};

const Family* find_family(std::string_view model_type) {
  const auto* found = std::ranges::find(kFamilies, model_type, &Family::model_type);
  return found == std::end(kFamilies) ? nullptr : found;
}

const Family& family_of(ConfigReader& in) {
  const std::string type = in.text("model_type", "");
  if (const Family* family = find_family(type)) return *family;
  in.refuse("model_type", fmt::format("is '{}'; this version runs: {}", type, supported_families()));
}

Activation activation_of(ConfigReader& in, Activation otherwise) {
  const std::string older = in.text("hidden_act", ""), name = in.text("hidden_activation", older);
  if (name.empty()) return otherwise;
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::gelu_tanh;
  in.refuse("hidden_act", fmt::format("is {}; this version has silu and gelu_pytorch_tanh", name));
}

void read_tokens(ConfigReader& in, ModelConfig& c) {
  c.add_bos = in.boolean("add_bos_token", false);
  if (const json* bos = in.find("bos_token_id")) c.bos_token_id = in.token(*bos, "bos_token_id");
  if (const json* eos = in.find("eos_token_id")) {
    for (const json& id : eos->is_array() ? *eos : json::array({*eos}))
      c.eos_token_ids.push_back(in.token(id, "eos_token_id"));
  }
}

}  // namespace

bool runs_family(std::string_view model_type) { return find_family(model_type) != nullptr; }

std::string supported_families() {
  std::string names;
  for (const Family& family : kFamilies) names += fmt::format("{}{}", names.empty() ? "" : ", ", family.model_type);
  return names;
}

ModelConfig config_from_transformers(const json& object, const std::string& source) {
  ConfigReader in(object, source);
  ModelConfig c;
  const Family& family = family_of(in);
  c.model_type = family.model_type;
  c.hidden_size = in.integer("hidden_size");
  c.intermediate_size = in.integer("intermediate_size");
  c.num_layers = in.count("num_hidden_layers");
  if (c.num_layers > kMaxLayers)  // lists of them are made before check()
    in.refuse("num_hidden_layers", fmt::format("is {}; 1 to {} are possible", c.num_layers, kMaxLayers));
  c.num_heads = in.count("num_attention_heads");
  c.num_kv_heads = in.count("num_key_value_heads", family.kv_heads > 0 ? family.kv_heads : c.num_heads);
  const int64_t even = c.num_heads > 0 ? c.hidden_size / c.num_heads : 0;
  c.head_dim = in.count("head_dim", family.head_dim > 0 ? family.head_dim : even);
  c.vocab_size = in.integer("vocab_size");
  c.max_positions = in.integer("max_position_embeddings");
  c.rms_norm_eps = in.real("rms_norm_eps", family.rms_norm_eps);
  c.tie_word_embeddings = in.boolean("tie_word_embeddings", family.tied);
  c.activation = activation_of(
      in, family.local_theta > 0 || family.read == read_gemma2 ? Activation::gelu_tanh : Activation::silu);
  c.layer_ropes.assign(static_cast<size_t>(c.num_layers), 0);
  c.layer_windows.assign(static_cast<size_t>(c.num_layers), 0);
  in.only("quantization_config", nullptr);
  read_ropes(in, c, family.rope_theta, family.local_theta, source);
  if (family.read != read_phi3)  // transformers leaves it out in the other families, or fails; other programs follow it
    for (const RopeConfig& rope : c.ropes)
      if (rope.rotary != c.head_dim) in.refuse("partial_rotary_factor", "is not 1; this version has that in phi3 only");
  family.read(in, c);
  read_tokens(in, c);
  in.ignore("layer_types");
  in.check_rest();
  c.check(source);
  return c;
}

}  // namespace trireme
