#include "plan/published_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string_view>

#include "model/config_reader.h"
#include "model/transformers_config.h"

namespace trireme {

namespace {

using nlohmann::json;

// Above any published size; a product of two stays inside 64 bits. ModelConfig::check knows each field's own bounds.
constexpr int64_t kMostSize = int64_t{1} << 28;

int64_t checked(ConfigReader& in, const char* field, int64_t value, int64_t least = 1) {
  if (value < least || value > kMostSize)
    in.refuse(field, fmt::format("is {}; {} to {} are possible", value, least, kMostSize));
  return value;
}

// Of the names that one size has in various families the first that is there. otherwise 0: one must be.
int64_t read_size(ConfigReader& in, std::initializer_list<const char*> names, int64_t otherwise = 0) {
  for (const char* name : names)
    if (in.find(name)) return checked(in, name, in.integer(name));
  if (otherwise < 1) in.refuse(*names.begin(), "is missing");
  return otherwise;
}

// MLPs.

int64_t read_width(ConfigReader& in, int64_t otherwise = 0) {
  return read_size(in, {"intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"}, otherwise);
}

void gated(ConfigReader& in, PublishedModel& m) { m.config.intermediate_size = read_width(in); }

// Two matrices in place of three: planned as a gated one of two thirds of the width, which has as many weights and does
// as many operations.
void plain(ConfigReader& in, PublishedModel& m) {
  const int64_t width = read_width(in, 4 * m.config.hidden_size);
  m.config.intermediate_size = std::llround(static_cast<double>(width) * 2 / 3);
}

struct Experts {
  int64_t number, per_token, width;
  int64_t shared_width = 0;  // of what every token uses in the same layers
  int64_t layers;            // that have experts
  int64_t dense_width = 0;   // of the MLP in others
};

// As if all layers had experts, narrower ones, and beside them the mean of what every token uses.
void set_experts(PublishedModel& m, const Experts& e) {
  if (e.layers == 0) {
    m.config.intermediate_size = e.dense_width;
    return;
  }
  const double part = static_cast<double>(e.layers) / m.config.num_layers;
  m.config.num_experts = static_cast<int>(e.number);
  m.config.experts_per_token = static_cast<int>(e.per_token);
  m.config.intermediate_size = std::llround(static_cast<double>(e.width) * part);
  m.shared_columns = static_cast<double>(e.shared_width) * part + static_cast<double>(e.dense_width) * (1 - part);
}

void gpt_oss_experts(ConfigReader& in, PublishedModel& m) {
  set_experts(m, {.number = read_size(in, {"num_local_experts"}),
                  .per_token = read_size(in, {"num_experts_per_tok", "experts_per_token"}),
                  .width = read_width(in),
                  .layers = m.config.num_layers});
}

void qwen2_experts(ConfigReader& in, PublishedModel& m) {
  const std::vector<int64_t> dense = in.integers("mlp_only_layers");
  const int64_t step = read_size(in, {"decoder_sparse_step"}, 1);
  int64_t layers = 0;
  for (int64_t i = 0; i < m.config.num_layers; i++)
    if (std::find(dense.begin(), dense.end(), i) == dense.end() && (i + 1) % step == 0) layers++;
  set_experts(m, {.number = read_size(in, {"num_experts"}),
                  .per_token = read_size(in, {"num_experts_per_tok"}),
                  .width = read_size(in, {"moe_intermediate_size"}),
                  .shared_width = read_size(in, {"shared_expert_intermediate_size"}),
                  .layers = layers,
                  .dense_width = read_width(in)});
}

void glm4_experts(ConfigReader& in, PublishedModel& m) {
  const int64_t width = read_size(in, {"moe_intermediate_size"});
  const int64_t shared = checked(in, "n_shared_experts", in.integer("n_shared_experts", 1), 0);
  const int64_t dense = checked(in, "first_k_dense_replace", in.integer("first_k_dense_replace", 1), 0);
  set_experts(m, {.number = read_size(in, {"n_routed_experts"}),
                  .per_token = read_size(in, {"num_experts_per_tok"}),
                  .width = width,
                  .shared_width = shared * width,
                  .layers = std::max<int64_t>(0, m.config.num_layers - dense),
                  .dense_width = read_width(in)});
}

void llama4_experts(ConfigReader& in, PublishedModel& m) {
  const int64_t width = read_width(in);
  const int64_t step = read_size(in, {"interleave_moe_layer_step"}, 1);
  const int64_t listed = in.find("moe_layers") ? std::ssize(in.integers("moe_layers")) : m.config.num_layers / step;
  set_experts(m, {.number = read_size(in, {"num_local_experts"}),
                  .per_token = read_size(in, {"num_experts_per_tok"}),
                  .width = width,
                  .shared_width = width,
                  .layers = std::min<int64_t>(listed, m.config.num_layers),
                  .dense_width = read_size(in, {"intermediate_size_mlp"})});
}

void dbrx_experts(ConfigReader& in, PublishedModel& m) {
  ConfigReader ffn = in.nested("ffn_config");
  set_experts(m, {.number = read_size(ffn, {"moe_num_experts"}),
                  .per_token = read_size(ffn, {"moe_top_k"}),
                  .width = read_width(ffn),
                  .layers = m.config.num_layers});
}

// What attention has beside heads: windows, or another way to say how many KV heads there are.

// The layers of which "layer_types" says it have the window, else all but every `pattern`-th.
void set_windows(ConfigReader& in, ModelConfig& c, int64_t window, int64_t pattern) {
  const std::vector<std::string> types = in.texts("layer_types");
  if (!types.empty() && std::ssize(types) != c.num_layers)
    in.refuse("layer_types", fmt::format("lists {} of {} layers", types.size(), c.num_layers));
  for (size_t i = 0; i < c.layer_windows.size(); i++) {
    const bool full = types.empty() ? (static_cast<int64_t>(i) + 1) % pattern == 0 : types[i] == "full_attention";
    if (!types.empty() && !full && types[i] != "sliding_attention" && types[i] != "chunked_attention")
      in.refuse("layer_types", "names an attention that nobody can plan yet");
    if (!full) c.layer_windows[i] = window;
  }
}

int64_t read_window(ConfigReader& in, int64_t otherwise) {
  const int64_t window = in.integer("sliding_window", in.has("sliding_window") ? 0 : otherwise);  // null: none
  return checked(in, "sliding_window", window, 0);
}

constexpr int64_t kNever = kMostSize;  // a pattern without layers that see all

void windows_4096(ConfigReader& in, PublishedModel& m) { set_windows(in, m.config, read_window(in, 4096), kNever); }
void windows_if_said(ConfigReader& in, PublishedModel& m) { set_windows(in, m.config, read_window(in, 0), kNever); }

void qwen_windows(ConfigReader& in, PublishedModel& m) {
  if (!in.boolean("use_sliding_window", false)) return;
  const int64_t window = read_window(in, 4096);
  const int64_t full = checked(in, "max_window_layers", in.integer("max_window_layers"), 0);
  set_windows(in, m.config, window, kNever);
  if (!in.find("layer_types"))
    for (size_t i = 0; i < m.config.layer_windows.size() && static_cast<int64_t>(i) < full; i++)
      m.config.layer_windows[i] = 0;
}

// "sliding_window_pattern" is a number, or a text with a letter for each layer of the pattern ("LLLG").
void pattern_windows(ConfigReader& in, ModelConfig& c, int64_t window, int64_t otherwise) {
  const char* field = in.find("_sliding_window_pattern") ? "_sliding_window_pattern" : "sliding_window_pattern";
  const json* pattern = in.find(field);
  const int64_t length = !pattern               ? otherwise
                         : pattern->is_string() ? std::ssize(pattern->get<std::string>())
                                                : in.integer(field);
  set_windows(in, c, read_window(in, window), checked(in, field, length));
}

void every_4th_full(ConfigReader& in, PublishedModel& m) { pattern_windows(in, m.config, 4096, 4); }
void every_6th_full(ConfigReader& in, PublishedModel& m) { pattern_windows(in, m.config, 4096, 6); }
void every_2nd_full(ConfigReader& in, PublishedModel& m) { pattern_windows(in, m.config, 128, 2); }

// Chunks: a row sees its own alone, half of it on the average. Planned as windows, which is no less, but for memory:
// vLLM gives none back ("latency regression when using chunked local attention with the hybrid KV cache manager").
void llama4_chunks(ConfigReader& in, PublishedModel& m) {
  set_windows(in, m.config, read_size(in, {"attention_chunk_size"}, 8192),
              read_size(in, {"no_rope_layer_interval"}, 4));
  m.chunked = true;
}

void falcon_heads(ConfigReader& in, PublishedModel& m) {
  const bool one = in.boolean("multi_query", true) && !in.boolean("new_decoder_architecture", false);
  m.config.num_kv_heads = one ? 1 : static_cast<int>(read_size(in, {"num_kv_heads"}, m.config.num_heads));
}

void one_kv_head(ConfigReader& in, PublishedModel& m) {
  if (in.boolean("multi_query", true)) m.config.num_kv_heads = 1;
}

void chatglm_heads(ConfigReader& in, PublishedModel& m) {
  if (in.boolean("multi_query_attention", false))
    m.config.num_kv_heads = static_cast<int>(read_size(in, {"multi_query_group_num"}, 1));
}

void dbrx_heads(ConfigReader& in, PublishedModel& m) {
  ConfigReader attention = in.nested("attn_config");
  m.config.num_kv_heads = static_cast<int>(read_size(attention, {"kv_n_heads"}, 1));
}

// The OPT of 350 million parameters alone embeds into other than its rows.
void opt_embedding(ConfigReader& in, PublishedModel& m) { in.only("word_embed_proj_dim", m.config.hidden_size); }

using Read = void (*)(ConfigReader&, PublishedModel&);

// A family: where its config class in transformers (or beside its weights) has sizes, and their defaults. 0: as many KV
// heads as heads, hidden_size / heads, and of the others none.
struct Family {
  std::string_view model_type;
  Read mlp;  // needs hidden_size and layers
  bool tied = false;
  Read attention = nullptr;  // windows and the like, needs all other sizes
  int kv_heads = 0, head_dim = 0;
  int64_t positions = 0, vocabulary = 0;
  int heads = 0;
};
constexpr Family kFamilies[] = {
    {"baichuan", gated},
    {"bloom", plain, true, nullptr, 0, 0, 2048},
    {"chatglm", gated, false, chatglm_heads},
    {"cohere", gated, true},
    {"cohere2", gated, true, every_4th_full},
    {"dbrx", dbrx_experts, false, dbrx_heads},
    {"exaone", gated, true},
    {"exaone4", gated, false, every_4th_full, 32},
    {"falcon", plain, true, falcon_heads, 0, 0, 2048},
    {"gemma3_text", gated, true, every_6th_full, 4, 256, 131072, 262208, 8},
    {"glm", gated, false, nullptr, 2, 128},
    {"glm4", gated, false, nullptr, 2, 128},
    {"glm4_moe", glm4_experts, false, nullptr, 8},
    {"gpt2", plain, true},
    {"gpt_bigcode", plain, true, one_kv_head},
    {"gpt_neox", plain},
    {"gpt_oss", gpt_oss_experts, false, every_2nd_full, 8, 64},
    {"gptj", plain},
    {"internlm", gated},
    {"internlm2", gated},
    {"internlm3", gated, false, nullptr, 2},
    {"llama", gated},
    {"llama4_text", llama4_experts, false, llama4_chunks, 8, 128},
    {"minicpm", gated, true},
    {"ministral", gated, false, windows_4096, 8},
    {"ministral3", gated, false, windows_if_said, 8, 128},
    {"mistral", gated, false, windows_4096, 8},
    {"nemotron", plain},
    {"opt", plain, true, opt_embedding},
    {"qwen2", gated, false, qwen_windows, 32},
    {"qwen2_5_vl", gated, false, qwen_windows, 8},
    {"qwen2_5_vl_text", gated, false, qwen_windows, 8},
    {"qwen2_moe", qwen2_experts, false, qwen_windows, 16},
    {"qwen3_vl_text", gated, false, nullptr, 32, 128},
    {"seed_oss", gated, false, nullptr, 8, 128},
    {"starcoder2", plain, true, windows_if_said, 2},
};

// Fields of models whose layers keep something else than keys and values of heads.
struct OtherAttention {
  const char* field;
  const char* name;
};
constexpr OtherAttention kOtherAttentions[] = {
    {"kv_lora_rank", "MLA"},
    {"linear_attn_config", "linear attention"},
    {"linear_num_key_heads", "linear attention"},
    {"mamba_d_state", "state-space layers"},
    {"ssm_state_size", "state-space layers"},
    {"state_size", "state-space layers"},
    {"conv_L_cache", "convolutions"},
};

// It is printed: a name, or nothing.
std::string read_type(ConfigReader& in) {
  constexpr size_t kMostLetters = 64;
  std::string type = in.text("model_type", "");
  const auto letter = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.'; };
  if (type.size() > kMostLetters || !std::all_of(type.begin(), type.end(), letter))
    in.refuse("model_type", "is no name of a family");
  return type;
}

const Family* find_family(std::string_view type) {
  const auto* found = std::ranges::find(kFamilies, type, &Family::model_type);
  return found == std::end(kFamilies) ? nullptr : found;
}

const Family& family_of(ConfigReader& in) {
  const std::string type = read_type(in);
  for (const OtherAttention& other : kOtherAttentions)
    if (in.find(other.field))
      in.refuse("model_type", fmt::format("is '{}', whose {} means {}: another attention than a plan knows", type,
                                          other.field, other.name));
  if (const Family* family = find_family(type)) return *family;
  std::string names = supported_families();
  for (const Family& family : kFamilies)
    if (!runs_family(family.model_type)) names += fmt::format(", {}", family.model_type);
  in.refuse("model_type", fmt::format("{}; a plan knows the sizes of: {}",
                                      type.empty() ? "is missing" : fmt::format("is '{}'", type), names));
}

ModelConfig read_sizes(ConfigReader& in, const Family& family, bool tied) {
  ModelConfig c;
  c.model_type = family.model_type;
  c.hidden_size = read_size(in, {"hidden_size", "n_embd", "n_embed", "d_model"});
  c.num_layers = static_cast<int>(read_size(in, {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}));
  if (c.num_layers > kMaxLayers)  // lists of them are made before check()
    in.refuse("num_hidden_layers", fmt::format("is {}; 1 to {} are possible", c.num_layers, kMaxLayers));
  c.num_heads = static_cast<int>(read_size(in, {"num_attention_heads", "n_head", "n_heads"}, family.heads));
  const int kv_heads = family.kv_heads > 0 ? family.kv_heads : c.num_heads;
  c.num_kv_heads = static_cast<int>(read_size(in, {"num_key_value_heads"}, kv_heads));
  const int64_t even = std::max<int64_t>(1, c.hidden_size / c.num_heads);
  c.head_dim =
      static_cast<int>(read_size(in, {"head_dim", "kv_channels"}, family.head_dim > 0 ? family.head_dim : even));
  c.vocab_size = read_size(in, {"vocab_size", "padded_vocab_size"}, family.vocabulary);
  c.max_positions =
      read_size(in, {"max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"},
                family.positions);
  c.tie_word_embeddings = in.boolean("tie_word_embeddings", tied);
  c.ropes = {{.rotary = c.head_dim}};
  c.layer_ropes.assign(static_cast<size_t>(c.num_layers), 0);
  c.layer_windows.assign(static_cast<size_t>(c.num_layers), 0);
  return c;
}

}  // namespace

PublishedModel PublishedModel::read(const json& object, const std::string& source) {
  ConfigReader whole(object, source);
  const bool wrapped = whole.find("text_config") != nullptr;
  PublishedModel m;
  const std::string type = read_type(whole);
  if (!wrapped && runs_family(type)) {
    m.config = config_from_transformers(object, source);
    return m;
  }
  ConfigReader in = wrapped ? whole.nested("text_config") : whole;
  const std::string inner = read_type(in);
  m.foreign_type = type.empty() ? "text_config of " + inner : type;
  if (wrapped && runs_family(inner) && !find_family(inner)) {
    m.config = config_from_transformers(object.at("text_config"), source);
    return m;
  }
  const Family& family = family_of(in);
  m.config = read_sizes(in, family, whole.boolean("tie_word_embeddings", family.tied));
  family.mlp(in, m);
  if (family.attention) family.attention(in, m);
  m.config.check(source);
  return m;
}

}  // namespace trireme
