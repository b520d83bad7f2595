#include "plan/published_config.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "plan/engine_profile.h"
#include "plan/model_work.h"
#include "testkit/error_of.h"

using namespace trireme;
using nlohmann::json;
using testkit::contains;

namespace {

PublishedModel read(const std::string& text) { return PublishedModel::read(json::parse(text), "config.json"); }

std::string refusal_of(const std::string& text) {
  return testkit::error_of([&] { read(text); });
}

ModelWork work_of(const PublishedModel& m) {
  return ModelWork("m", m.config, Precision::bf16, 2, get_engine_profile("published"), m.shared_columns);
}

// Billions of parameters that a token uses: of the layers, of the embedding and of the head.
double active(const PublishedModel& m) {
  const ModelWork work = work_of(m);
  const double vocabulary = static_cast<double>(m.config.vocab_size * m.config.hidden_size);
  const double outside = vocabulary * (m.config.tie_word_embeddings ? 1 : 2);
  return ((work.parameters() - outside) * work.used_share() + outside) / 1e9;
}

struct Published {
  const char* name;
  const char* config;  // as far as it has sizes
  double billions;     // parameters, as published
  double active = 0;   // of them, those of a token; of gpt-oss they are published without the embedding's
};

const Published kPublished[] = {
    {"baichuan2-13b",
     R"({"model_type": "baichuan", "hidden_size": 5120, "intermediate_size": 13696, "num_hidden_layers": 40,
       "num_attention_heads": 40, "model_max_length": 4096, "vocab_size": 125696})",
     13.9},
    {"bloom-176b", R"({"model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112,
       "vocab_size": 250880})",
     176.2},
    {"glm-4-9b",
     R"({"model_type": "chatglm", "hidden_size": 4096, "ffn_hidden_size": 13696, "num_layers": 40, "kv_channels": 128,
       "num_attention_heads": 32, "multi_query_attention": true, "multi_query_group_num": 2, "padded_vocab_size": 151552,
       "seq_length": 131072, "tie_word_embeddings": false})",
     9.4},
    {"command-r", R"({"model_type": "cohere", "hidden_size": 8192, "intermediate_size": 22528, "num_hidden_layers": 40,
       "num_attention_heads": 64, "num_key_value_heads": 64, "max_position_embeddings": 8192, "vocab_size": 256000})",
     35.0},
    {"command-a",
     R"({"model_type": "cohere2", "hidden_size": 12288, "intermediate_size": 36864, "num_hidden_layers": 64,
       "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
       "sliding_window": 4096, "sliding_window_pattern": 4, "vocab_size": 256000})",
     111},
    {"dbrx",
     R"({"model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32768, "vocab_size": 100352,
       "attn_config": {"kv_n_heads": 8, "clip_qkv": 8},
       "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}})",
     132, 36},
    {"exaone-3.5-32b",
     R"({"model_type": "exaone", "hidden_size": 5120, "intermediate_size": 27392, "num_layers": 64, "head_dim": 128,
       "num_attention_heads": 40, "num_key_value_heads": 8, "max_position_embeddings": 32768, "vocab_size": 102400,
       "tie_word_embeddings": false})",
     32.0},
    // Published counts of the older Falcons have the head apart, which is the embedding: 0.3 and 1.0 more.
    {"falcon-7b", R"({"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
       "multi_query": true, "new_decoder_architecture": false, "vocab_size": 65024})",
     7.22 - 0.30},
    {"falcon-180b",
     R"({"model_type": "falcon", "hidden_size": 14848, "num_hidden_layers": 80, "num_attention_heads": 232,
       "num_kv_heads": 8, "multi_query": true, "new_decoder_architecture": true, "vocab_size": 65024})",
     179.5 - 0.97},
    {"glm-4-0414-9b",
     R"({"model_type": "glm4", "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
       "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 32768,
       "vocab_size": 151552})",
     9.4},
    {"glm-4.5",
     R"({"model_type": "glm4_moe", "hidden_size": 5120, "intermediate_size": 12288, "moe_intermediate_size": 1536,
       "num_hidden_layers": 92, "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "n_routed_experts": 160,
       "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "max_position_embeddings": 131072,
       "vocab_size": 151552})",
     355, 32},
    {"gpt2-xl",
     R"({"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25, "n_positions": 1024, "n_inner": null,
       "vocab_size": 50257})",
     1.56},
    {"gpt-neox-20b",
     R"({"model_type": "gpt_neox", "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 44,
       "num_attention_heads": 64, "max_position_embeddings": 2048, "vocab_size": 50432})",
     20.6},
    {"gpt-oss-120b",
     R"({"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36,
       "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 128, "num_experts_per_tok": 4,
       "sliding_window": 128, "max_position_embeddings": 131072, "vocab_size": 201088})",
     117, 5.7},
    {"gpt-oss-20b",
     R"({"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
       "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 32, "experts_per_token": 4,
       "sliding_window": 128, "max_position_embeddings": 131072, "vocab_size": 201088})",
     20.9, 4.2},
    {"gpt-j-6b", R"({"model_type": "gptj", "n_embd": 4096, "n_layer": 28, "n_head": 16, "n_positions": 2048,
       "vocab_size": 50400})",
     6.05},
    {"internlm2-20b",
     R"({"model_type": "internlm2", "hidden_size": 6144, "intermediate_size": 16384, "num_hidden_layers": 48,
       "num_attention_heads": 48, "num_key_value_heads": 8, "max_position_embeddings": 32768, "vocab_size": 92544})",
     19.9},
    {"internlm3-8b",
     R"({"model_type": "internlm3", "hidden_size": 4096, "intermediate_size": 10240, "num_hidden_layers": 48,
       "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 32768,
       "vocab_size": 128512})",
     8.8},
    {"llama-4-scout", R"({"model_type": "llama4", "text_config": {"model_type": "llama4_text", "hidden_size": 5120,
       "intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40,
       "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 16, "num_experts_per_tok": 1,
       "interleave_moe_layer_step": 1, "max_position_embeddings": 10485760, "vocab_size": 202048}})",
     108, 17},
    {"llama-4-maverick", R"({"model_type": "llama4", "text_config": {"model_type": "llama4_text", "hidden_size": 5120,
       "intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40,
       "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 128, "num_experts_per_tok": 1,
       "interleave_moe_layer_step": 2, "max_position_embeddings": 1048576, "vocab_size": 202048}})",
     400, 17},
    {"gemma-3-4b", R"({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
       "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}})",
     3.88},
    {"minicpm-2b", R"({"model_type": "minicpm", "hidden_size": 2304, "intermediate_size": 5760, "num_hidden_layers": 40,
       "num_attention_heads": 36, "num_key_value_heads": 36, "max_position_embeddings": 4096, "vocab_size": 122753})",
     2.72},
    {"mistral-small-3.1", R"({"model_type": "mistral3", "text_config": {"model_type": "mistral", "hidden_size": 5120,
       "intermediate_size": 32768, "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
       "max_position_embeddings": 131072, "sliding_window": null, "vocab_size": 131072}})",
     23.6},
    {"nemotron-4-340b",
     R"({"model_type": "nemotron", "hidden_size": 18432, "intermediate_size": 73728, "num_hidden_layers": 96,
       "num_attention_heads": 96, "num_key_value_heads": 8, "max_position_embeddings": 4096, "vocab_size": 256000})",
     340},
    {"opt-66b",
     R"({"model_type": "opt", "hidden_size": 9216, "ffn_dim": 36864, "num_hidden_layers": 64, "num_attention_heads": 72,
       "word_embed_proj_dim": 9216, "max_position_embeddings": 2048, "vocab_size": 50272})",
     65.7},
    {"qwen2.5-vl-7b",
     R"({"model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
       "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128000, "use_sliding_window": false,
       "tie_word_embeddings": false, "vocab_size": 152064, "vision_config": {}})",
     7.62},
    {"qwen2-57b-a14b",
     R"({"model_type": "qwen2_moe", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
       "num_attention_heads": 28, "num_key_value_heads": 4, "moe_intermediate_size": 2560, "num_experts": 64,
       "num_experts_per_tok": 8, "shared_expert_intermediate_size": 20480, "max_position_embeddings": 131072,
       "vocab_size": 151936})",
     57.4, 14.2},
    {"seed-oss-36b",
     R"({"model_type": "seed_oss", "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64,
       "num_attention_heads": 80, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 524288,
       "vocab_size": 155136})",
     36.2},
    {"starcoder2-15b",
     R"({"model_type": "starcoder2", "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 40,
       "num_attention_heads": 48, "num_key_value_heads": 4, "sliding_window": 4096, "max_position_embeddings": 16384,
       "vocab_size": 49152})",
     15.7},
};

const char* config_of(const std::string& name) { return std::ranges::find(kPublished, name, &Published::name)->config; }

json changed(const std::string& name, const char* field, const json& value) {
  json config = json::parse(config_of(name));
  config[field] = value;
  return config;
}

std::vector<int64_t> first_windows(const PublishedModel& m, size_t layers) {
  return {m.config.layer_windows.begin(), m.config.layer_windows.begin() + static_cast<std::ptrdiff_t>(layers)};
}

}  // namespace

TEST_CASE("published models have as many parameters as their authors say") {
  for (const Published& p : kPublished) {
    CAPTURE(p.name);
    const PublishedModel m = read(p.config);
    CHECK(m.foreign_type == json::parse(p.config)["model_type"]);
    CHECK(work_of(m).parameters() / 1e9 == doctest::Approx(p.billions).epsilon(0.02));
    if (p.active > 0) CHECK(active(m) == doctest::Approx(p.active).epsilon(0.06));  // published with two digits
  }
}

TEST_CASE("what this engine runs is read as it reads it") {
  const char* llama = R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 256, "max_position_embeddings": 512, "rope_theta": 5e5)";
  const PublishedModel m = read(std::string(llama) + "}");
  CHECK(m.foreign_type.empty());
  CHECK(m.config.ropes[0].theta == 5e5);
  CHECK(contains(refusal_of(std::string(llama) + R"(, "new_feature": 1})"),
                 "65: config.json: the model's new_feature is not known"));
}

TEST_CASE("TP ranks share experts, and what all tokens use beside them") {
  const ModelWork work = work_of(read(config_of("qwen2-57b-a14b")));
  const double whole = work.stages(1, 1)[0].layer_bytes, part = work.stages(4, 1)[0].layer_bytes;
  CHECK(whole == doctest::Approx(2 * (work.parameters() - 2 * 151936.0 * 3584)).epsilon(1e-3));
  CHECK(part == doctest::Approx(whole / 4).epsilon(0.01));
}

TEST_CASE("windows, of all layers or all but each n-th") {
  using Windows = std::vector<int64_t>;
  CHECK(first_windows(read(config_of("starcoder2-15b")), 3) == Windows{4096, 4096, 4096});
  CHECK(first_windows(read(config_of("mistral-small-3.1")), 3) == Windows{0, 0, 0});
  CHECK(first_windows(read(config_of("gpt-oss-20b")), 4) == Windows{128, 0, 128, 0});
  CHECK(!read(config_of("command-a")).chunked);
  CHECK(first_windows(read(config_of("command-a")), 5) == Windows{4096, 4096, 4096, 0, 4096});
  CHECK(first_windows(read(config_of("gemma-3-4b")), 7) == Windows{1024, 1024, 1024, 1024, 1024, 0, 1024});
  CHECK(first_windows(read(config_of("llama-4-scout")), 5) == Windows{8192, 8192, 8192, 0, 8192});
  CHECK(read(config_of("llama-4-scout")).chunked);
  const json lettered = changed("command-a", "sliding_window_pattern", "LG");
  CHECK(first_windows(PublishedModel::read(lettered, "c"), 4) == Windows{4096, 0, 4096, 0});
  json qwen = changed("qwen2.5-vl-7b", "use_sliding_window", true);
  qwen["max_window_layers"] = 2, qwen["sliding_window"] = 512;
  CHECK(first_windows(PublishedModel::read(qwen, "c"), 4) == Windows{0, 0, 512, 512});
  std::vector<std::string> types(24, "full_attention");
  types[1] = "sliding_attention";
  CHECK(first_windows(PublishedModel::read(changed("gpt-oss-20b", "layer_types", types), "c"), 3) ==
        Windows{0, 128, 0});
}

TEST_CASE("another attention is refused, and says which") {
  for (const auto& [field, name] :
       {std::pair("kv_lora_rank", "MLA"), std::pair("linear_num_key_heads", "linear attention"),
        std::pair("mamba_d_state", "state-space layers")}) {
    const std::string text = fmt::format(R"({{"model_type": "new", "{}": 512}})", field);
    const std::string words = fmt::format("model_type is 'new', whose {} means {}: another attention", field, name);
    CHECK(contains(refusal_of(text), "65: config.json: the model's " + words));
  }
  const char* inside =
      R"({"model_type": "kimi_vl", "text_config": {"model_type": "deepseek_v3", "kv_lora_rank": 512}})";
  CHECK(contains(refusal_of(inside),
                 "the model's text_config.model_type is 'deepseek_v3', whose kv_lora_rank means MLA"));
  const json linear = changed("gpt-oss-20b", "layer_types", std::vector<std::string>(24, "linear_attention"));
  CHECK(contains(testkit::error_of([&] { PublishedModel::read(linear, "c"); }),
                 "layer_types names an attention that nobody can plan"));
}

TEST_CASE("a text model that this engine runs is planned inside another one, too") {
  const PublishedModel m = read(R"({"model_type": "internvl", "text_config": {"model_type": "qwen3", "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "vocab_size": 256, "max_position_embeddings": 512, "rope_theta": 1e6, "rms_norm_eps": 1e-6}})");
  CHECK(m.foreign_type == "internvl");
  CHECK(m.config.qk_norm != QkNorm::none);
  CHECK(read(R"({"text_config": {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 256,
    "n_positions": 512}})")
            .foreign_type == "text_config of gpt2");
}

TEST_CASE("a family's name is printed, so it is one") {
  for (const char* type : {R"("a\nb")", R"("\u001b[2J")", R"("a b")"})
    CHECK(contains(refusal_of(fmt::format(R"({{"model_type": {}}})", type)), "model_type is no name of a family"));
  CHECK(contains(refusal_of(fmt::format(R"({{"model_type": "{}"}})", std::string(65, 'a'))), "is no name of a family"));
}

TEST_CASE("a family that nobody wrote down is refused, and those that there are are named") {
  CHECK(
      contains(refusal_of(R"({"model_type": "t5"})"), "model_type is 't5'; a plan knows the sizes of: llama, mistral"));
  CHECK(contains(refusal_of(R"({"text_config": {}})"), "text_config.model_type is missing"));
}

TEST_CASE("sizes that cannot be are refused by the name that the file has") {
  struct Wrong {
    const char *name, *field;
    json value;
    const char* words;
  };
  for (const auto& [name, field, value, words] : {
           Wrong{"bloom-176b", "n_layer", 0, "n_layer is 0; 1 to "},
           Wrong{"bloom-176b", "n_layer", 1 << 20, "num_hidden_layers is 1048576; 1 to 4096"},
           Wrong{"bloom-176b", "n_embed", -1, "n_embed is -1"},
           Wrong{"bloom-176b", "n_embed", int64_t{1} << 62, "n_embed is 4611686018427387904"},
           Wrong{"bloom-176b", "num_attention_heads", 1e300, "num_attention_heads is 1e+300, no integer"},
           Wrong{"bloom-176b", "vocab_size", nullptr, "vocab_size is missing"},
           Wrong{"falcon-180b", "num_kv_heads", 7, "not a multiple of the 7 key-value heads"},
           Wrong{"falcon-180b", "multi_query", "yes", "multi_query is no boolean"},
           Wrong{"opt-66b", "word_embed_proj_dim", 512, "word_embed_proj_dim is 512"},
           Wrong{"qwen2-57b-a14b", "num_experts", 1 << 27, "num_experts is 134217728"},
           Wrong{"qwen2-57b-a14b", "num_experts_per_tok", 65, "num_experts_per_tok is 65; 1 to 64"},
           Wrong{"qwen2-57b-a14b", "decoder_sparse_step", 0, "decoder_sparse_step is 0"},
           Wrong{"qwen2-57b-a14b", "mlp_only_layers", 3, "mlp_only_layers is no list"},
           Wrong{"glm-4.5", "n_shared_experts", -1, "n_shared_experts is -1"},
           Wrong{"dbrx", "ffn_config", {{"moe_num_experts", 0}}, "ffn_config.moe_num_experts is 0"},
           Wrong{"dbrx", "attn_config", 8, "attn_config is no JSON object"},
           Wrong{"command-a", "sliding_window_pattern", 0, "sliding_window_pattern is 0"},
           Wrong{"command-a", "sliding_window_pattern", "", "sliding_window_pattern is 0"},
           Wrong{"command-a", "sliding_window", -5, "sliding_window is -5"},
           Wrong{"llama-4-scout", "text_config", "llama", "text_config is no JSON object"},
       }) {
    CAPTURE(field);
    const std::string error =
        testkit::error_of([&] { PublishedModel::read(changed(name, field, value), "config.json"); });
    CHECK(contains(error, "65: config.json: the model's "));
    CHECK(contains(error, words));
  }
}
