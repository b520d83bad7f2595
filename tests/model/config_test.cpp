#include "model/config.h"

#include <doctest/doctest.h>

#include <functional>

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
  ModelConfig c = ModelConfig::from_json(published(), "config.json");
  CHECK(c.hidden_size == 576);
  CHECK(c.head_dim == 64);
  CHECK(c.group_size() == 3);
  CHECK(c.rope_theta == 100000);
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
  ModelConfig c = ModelConfig::from_json(j, "config.json");
  CHECK(c.rope_theta == 5e5);
  CHECK(c.eos_token_ids == std::vector<int32_t>{2, 7});
}

TEST_CASE("what is written is read back equal") {
  ModelConfig c = ModelConfig::from_json(published(), "a");
  CHECK(ModelConfig::from_json(c.to_json(), "b").to_json() == c.to_json());
  c.bos_token_id = -1, c.eos_token_ids.clear();
  ModelConfig d = ModelConfig::from_json(c.to_json(), "b");
  CHECK(d.bos_token_id == -1);
  CHECK(d.eos_token_ids.empty());
}

TEST_CASE("a config that cannot be run is refused with field and source") {
  struct Case {
    const char* field;
    json value;
  };
  const Case cases[] = {{"model_type", "mixtral"},
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
                        {"attention_bias", true},
                        {"mlp_bias", true},
                        {"rope_interleaved", true},
                        {"sliding_window", 4096},
                        {"partial_rotary_factor", 0.5},
                        {"quantization_config", {{"bits", 4}}},
                        {"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}},
                        {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                        {"rope_scaling", 2},
                        {"logit_scale", 0.5}};
  for (const Case& c : cases) {
    CAPTURE(c.field);
    CAPTURE(c.value.dump());
    json j = published();
    j[c.field] = c.value;
    std::string text = error_of([&] { ModelConfig::from_json(j, "x/config.json"); });
    CHECK(text.starts_with("65: x/config.json: "));
  }
  json j = published();
  j["add_bos_token"] = true, j["bos_token_id"] = nullptr;
  CHECK(contains(error_of([&] { ModelConfig::from_json(j, "x"); }), "no bos_token_id"));
  for (const char* field : {"hidden_size", "num_hidden_layers", "vocab_size", "model_type"}) {
    j = published();
    j.erase(field);
    CHECK(contains(error_of([&] { ModelConfig::from_json(j, "x"); }), field));
  }
  CHECK(error_of([&] { ModelConfig::from_json(json::array(), "x"); }).starts_with("65: "));
}
