#include "model/config.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "model/transformers_config.h"
#include "testkit/error_of.h"

using namespace trireme;
using namespace trireme::testkit;
using nlohmann::json;

namespace {

// As transformers writes it for a small Llama, with fields that change nothing here.
json published() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"attention_bias", false},
          {"attention_dropout", 0.0},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"hidden_act", "silu"},
          {"hidden_size", 576},
          {"initializer_range", 0.04},
          {"intermediate_size", 1536},
          {"is_llama_config", true},
          {"max_position_embeddings", 8192},
          {"mlp_bias", false},
          {"model_type", "llama"},
          {"num_attention_heads", 9},
          {"num_hidden_layers", 30},
          {"num_key_value_heads", 3},
          {"pad_token_id", 2},
          {"pretraining_tp", 1},
          {"rms_norm_eps", 1e-05},
          {"rope_interleaved", false},
          {"rope_scaling", nullptr},
          {"rope_theta", 100000},
          {"tie_word_embeddings", true},
          {"torch_dtype", "bfloat16"},
          {"transformers_version", "4.42.3"},
          {"use_cache", true},
          {"vocab_size", 49152}};
}

}  // namespace

TEST_CASE("a published config is understood") {
  ModelConfig c = config_from_transformers(published(), "config.json");
  CHECK(c.hidden_size == 576);
  CHECK(c.head_dim == 64);
  CHECK(c.group_size() == 3);
  CHECK(c.ropes.at(0).theta == 100000);
  CHECK(c.rms_norm_eps == 1e-5);
  CHECK(c.tie_word_embeddings);
  CHECK(c.eos_token_ids == std::vector<int32_t>{2});
  CHECK_FALSE(c.add_bos);
}

TEST_CASE("the new style of rotary parameters and a list of end tokens") {
  json j = published();
  j.erase("rope_theta"), j.erase("rope_scaling");
  j["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "default"}};
  j["eos_token_id"] = {2, 7};
  ModelConfig c = config_from_transformers(j, "config.json");
  CHECK(c.ropes.at(0).theta == 5e5);
  CHECK(c.eos_token_ids == std::vector<int32_t>{2, 7});
}

TEST_CASE("what is written is read back equal") {
  ModelConfig c = config_from_transformers(published(), "a");
  CHECK(ModelConfig::from_json(c.to_json(), "b").to_json() == c.to_json());
  c.bos_token_id = -1, c.eos_token_ids.clear();
  ModelConfig d = ModelConfig::from_json(c.to_json(), "b");
  CHECK(d.bos_token_id == -1);
  CHECK(d.eos_token_ids.empty());
}

namespace {

// A family's config beyond the common fields, on six layers.
ModelConfig family(const char* model_type, std::initializer_list<std::pair<const char*, json>> fields) {
  json j = published();
  for (const char* field : {"mlp_bias", "rope_interleaved", "is_llama_config"}) j.erase(field);
  if (std::string(model_type) == "qwen2") j.erase("attention_bias");
  j["model_type"] = model_type, j["num_hidden_layers"] = 6;
  for (const auto& [field, value] : fields) j[field] = value;
  ModelConfig c = config_from_transformers(j, "config.json");
  CHECK(ModelConfig::from_json(c.to_json(), "again").to_json() == c.to_json());
  return c;
}

using Windows = std::vector<int64_t>;

}  // namespace

TEST_CASE("each family's features become fields") {
  CHECK(family("mistral", {{"sliding_window", 16}}).layer_windows == Windows(6, 16));
  CHECK(family("mistral", {}).layer_windows == Windows(6, 4096));
  CHECK(family("mistral", {{"sliding_window", nullptr}}).layer_windows == Windows(6, 0));
  CHECK(contains(error_of([] { family("mistral", {{"sliding_window", -1}}); }), "sliding_window is -1"));

  ModelConfig c = family("qwen2", {{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 4}});
  CHECK(c.layer_windows == Windows{0, 0, 0, 0, 8, 8});
  CHECK((c.qkv_bias && !c.o_bias));
  CHECK(family("qwen2", {{"use_sliding_window", false}, {"sliding_window", 8}}).layer_windows == Windows(6, 0));
  CHECK(family("qwen3", {}).qk_norm == QkNorm::head);
  CHECK(family("smollm3", {{"no_rope_layer_interval", 3}}).layer_ropes == std::vector<int>{0, 0, -1, 0, 0, -1});
  CHECK(family("smollm3", {{"no_rope_layers", {1, 0, 1, 1, 1, 0}}}).layer_ropes ==
        std::vector<int>{0, -1, 0, 0, 0, -1});

  c = family("gemma2",
             {{"hidden_activation", "gelu_pytorch_tanh"}, {"sliding_window", 9}, {"query_pre_attn_scalar", 64}});
  CHECK(c.layer_windows == Windows{9, 0, 9, 0, 9, 0});
  CHECK((c.pre_norm && c.post_norm && c.activation == Activation::gelu_tanh));
  CHECK(c.embedding_multiplier == 24);
  CHECK(c.attention_scale == 0.125);
  CHECK((c.attention_softcap == 50 && c.final_softcap == 30));

  c = family("gemma3_text", {{"hidden_activation", "gelu_pytorch_tanh"},
                             {"sliding_window", 9},
                             {"sliding_window_pattern", 3},
                             {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}},
                             {"rope_local_base_freq", 5000}});
  CHECK(c.layer_ropes == std::vector<int>{1, 1, 0, 1, 1, 0});
  CHECK((c.ropes.at(0).scaling == RopeScaling::linear && c.ropes.at(0).theta == 100000));
  CHECK((c.ropes.at(1).scaling == RopeScaling::none && c.ropes.at(1).theta == 5000));
  c = family("gemma3_text", {{"rope_theta", nullptr},
                             {"rope_parameters",
                              {{"full_attention", {{"rope_type", "default"}, {"rope_theta", 7e5}}},
                               {"sliding_attention", {{"rope_theta", 3e4}}}}}});
  CHECK((c.ropes.at(0).theta == 7e5 && c.ropes.at(1).theta == 3e4));

  std::vector<double> factors(24, 2.0);
  c = family("phi3", {{"original_max_position_embeddings", 4096},
                      {"partial_rotary_factor", 0.75},
                      {"rope_scaling", {{"type", "su"}, {"short_factor", factors}, {"long_factor", factors}}}});
  CHECK(c.ropes.at(0).rotary == 48);
  CHECK(c.long_rope_from() == 4096);
  CHECK(c.ropes.at(0).attention_factor == doctest::Approx(std::sqrt(1 + std::log(2.0) / std::log(4096.0))));

  CHECK(family("gemma3_text", {{"attn_logit_softcapping", 30.0}}).attention_softcap == 0);  // as in transformers
  c = family("granite", {{"attention_multiplier", 0.5},
                         {"residual_multiplier", 0.25},
                         {"logits_scaling", 8},
                         {"embedding_multiplier", 12}});
  CHECK((c.attention_scale == 0.5 && c.residual_multiplier == 0.25));
  CHECK((c.logits_scaling == 8 && c.embedding_multiplier == 12));
  c = family("olmo2", {});
  CHECK((!c.pre_norm && c.post_norm && c.qk_norm == QkNorm::row));
  c = family("mixtral", {{"num_local_experts", 5}, {"num_experts_per_tok", 2}});
  CHECK((c.num_experts == 5 && c.experts_per_token == 2 && c.norm_topk_prob && c.mlp_columns() == 5 * 1536));
  c = family("qwen3_moe", {{"num_experts", 7}, {"num_experts_per_tok", 3}, {"moe_intermediate_size", 40}});
  CHECK((c.num_experts == 7 && !c.norm_topk_prob && c.intermediate_size == 40));

  c = family("llama",
             {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 2048}}}});
  CHECK(c.ropes.at(0).attention_factor == doctest::Approx(0.1 * std::log(4.0) + 1));
  CHECK(family("llama", {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}, {"attention_factor", 1.5}}}})
            .ropes.at(0)
            .attention_factor == 1.5);
}

TEST_CASE("a checkpoint's config is taken as it was written, or refused") {
  json j = config_from_transformers(published(), "a").to_json();
  j["hidden_size"] = 1.5;
  CHECK(contains(error_of([&] { ModelConfig::from_json(j, "x"); }), "hidden_size"));
  j["hidden_size"] = 576, j["activation"] = "relu";
  CHECK(contains(error_of([&] { ModelConfig::from_json(j, "x"); }), "activation"));
  j["activation"] = "silu", j["layer_windows"] = {1, 2};
  CHECK(contains(error_of([&] { ModelConfig::from_json(j, "x"); }), "layers"));
  j.erase("layer_windows"), j["unknown"] = 1;
  CHECK(contains(error_of([&] { ModelConfig::from_json(j, "x"); }), "unknown"));
}

TEST_CASE("a config that cannot be run is refused with field and source") {
  struct Case {
    const char* field;
    json value;
  };
  const Case cases[] = {{"model_type", "gpt2"},
                        {"model_type", nullptr},
                        {"hidden_size", 0},
                        {"hidden_size", -1},
                        {"hidden_size", 1e9},
                        {"hidden_size", "576"},
                        {"hidden_size", UINT64_MAX},
                        {"hidden_size", 576.5},
                        {"intermediate_size", 0},
                        {"num_hidden_layers", 0},
                        {"num_hidden_layers", 1000000000},
                        {"num_hidden_layers", INT64_MAX},
                        {"num_attention_heads", 0},
                        {"num_attention_heads", 1000000000},
                        {"num_key_value_heads", 2},
                        {"num_key_value_heads", 18},
                        {"num_key_value_heads", 0},
                        {"head_dim", 63},
                        {"head_dim", 0},
                        {"head_dim", 100000},
                        {"vocab_size", 0},
                        {"vocab_size", 1000000000},
                        {"max_position_embeddings", 0},
                        {"rope_theta", 0},
                        {"rope_theta", "x"},
                        {"rms_norm_eps", 0},
                        {"rms_norm_eps", 2},
                        {"bos_token_id", 49152},
                        {"bos_token_id", -2},
                        {"eos_token_id", {2, 49152}},
                        {"eos_token_id", "x"},
                        {"tie_word_embeddings", 1},
                        {"hidden_act", "gelu"},
                        {"attention_bias", 1},
                        {"rope_interleaved", true},
                        {"sliding_window", 4096},
                        {"partial_rotary_factor", 1.5},
                        {"partial_rotary_factor", 0.01},
                        {"quantization_config", {{"bits", 4}}},
                        {"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 8.0}}},
                        {"partial_rotary_factor", 0.5},
                        {"rope_scaling", {{"type", "linear"}, {"factor", 0.0}}},
                        {"rope_scaling", {{"type", "linear"}}},
                        {"rope_scaling", {{"type", "llama3"}, {"low_freq_factor", 1}, {"high_freq_factor", 4}}},
                        {"rope_scaling", {{"type", "linear"}, {"factr", 2.0}}},
                        {"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}}},
                        {"rope_parameters", {{"rope_type", "llama3"}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}},
                        {"rope_scaling", 2},
                        {"logit_scale", 0.5}};
  for (const Case& c : cases) {
    CAPTURE(c.field);
    CAPTURE(c.value.dump());
    json j = published();
    j[c.field] = c.value;
    std::string text = error_of([&] { config_from_transformers(j, "x/config.json"); });
    CHECK(text.starts_with("65: x/config.json: "));
  }
  json j = published();
  j["add_bos_token"] = true, j["bos_token_id"] = nullptr;
  CHECK(contains(error_of([&] { config_from_transformers(j, "x"); }), "no bos_token_id"));
  for (const char* field : {"hidden_size", "num_hidden_layers", "vocab_size", "model_type"}) {
    j = published();
    j.erase(field);
    CHECK(contains(error_of([&] { config_from_transformers(j, "x"); }), field));
  }
  CHECK(error_of([&] { config_from_transformers(json::array(), "x"); }).starts_with("65: "));
}
