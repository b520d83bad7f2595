#include "model/gguf_config.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"

using namespace trireme;
using namespace trireme::testkit;
using nlohmann::json;

namespace {

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Metadata that every architecture has, of a model with 6 layers, 8 query heads and 2 KV heads of 16, and 40 tokens.
struct Metadata {
  std::string architecture;
  GgufWriter writer;

  explicit Metadata(const std::string& name) : architecture(name) {
    writer.text("general.architecture", name);
    count("block_count", 6).count("context_length", 4096).count("embedding_length", 128);
    count("feed_forward_length", 320).count("attention.head_count", 8).count("attention.head_count_kv", 2);
    real("attention.layer_norm_rms_epsilon", 1e-6f).real("rope.freq_base", 500000);
    writer.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
    writer.boolean("tokenizer.ggml.add_bos_token", true);
    writer.tensor("token_embd.weight", {128, 40}, 1, std::string(128 * 40 * 2, 'w'));
  }
  std::string key(const char* name) const { return architecture + "." + name; }
  Metadata& count(const char* name, uint32_t value) { return writer.u32(key(name), value), *this; }
  Metadata& real(const char* name, float value) { return writer.f32(key(name), value), *this; }
  Metadata& text(const char* name, const char* value) { return writer.text(key(name), value), *this; }
  Metadata& boolean(const char* name, bool value) { return writer.boolean(key(name), value), *this; }
  Metadata& vector(const char* name, const std::vector<float>& values) {
    writer.tensor(name, {values.size()}, 0, floats(values));
    return *this;
  }
};

json config_of(Metadata m) {
  TempFolder folder;
  write_file(folder / "a.gguf", m.writer.build());
  Gguf gguf(folder / "a.gguf");
  return gguf_config_json(gguf);
}

std::string refusal_of(const Metadata& m) {
  std::string text = error_of([&] { config_of(m); });
  CHECK(text.starts_with("65: "));
  CHECK(contains(text, "a.gguf"));
  return text;
}

// What every architecture's config has for this metadata, with the fields of its own added.
json expected(const json& own) {
  json all = {{"hidden_size", 128},       {"intermediate_size", 320},
              {"num_hidden_layers", 6},   {"num_attention_heads", 8},
              {"num_key_value_heads", 2}, {"head_dim", 16},
              {"vocab_size", 40},         {"max_position_embeddings", 4096},
              {"rms_norm_eps", 1e-6},     {"tie_word_embeddings", true},
              {"bos_token_id", 1},        {"eos_token_id", {2}},
              {"add_bos_token", true},    {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 500000}}}};
  all.update(own);
  if (!all.contains("hidden_activation")) all["hidden_act"] = "silu";
  return all;
}

}  // namespace

TEST_CASE("Llama, Mistral and Mixtral share an architecture") {
  CHECK(config_of(Metadata("llama")) ==
        expected({{"model_type", "llama"}, {"attention_bias", false}, {"mlp_bias", false}}));
  CHECK(config_of(Metadata("llama").vector("output.weight", {1})) ==
        expected(
            {{"model_type", "llama"}, {"attention_bias", false}, {"mlp_bias", false}, {"tie_word_embeddings", false}}));
  CHECK(config_of(Metadata("llama").vector("blk.0.attn_q.bias", {1}).vector("blk.0.ffn_up.bias", {1})) ==
        expected({{"model_type", "llama"}, {"attention_bias", true}, {"mlp_bias", true}}));
  CHECK(config_of(Metadata("llama").count("attention.sliding_window", 1024)) ==
        expected({{"model_type", "mistral"}, {"sliding_window", 1024}}));
  CHECK(config_of(Metadata("llama").count("expert_count", 8).count("expert_used_count", 2)) ==
        expected({{"model_type", "mixtral"}, {"num_local_experts", 8}, {"num_experts_per_tok", 2}}));
}

TEST_CASE("the head's size is its own where the file says so") {
  json c = config_of(Metadata("llama").count("attention.key_length", 32).count("attention.value_length", 32));
  CHECK(c["head_dim"] == 32);
  CHECK(contains(refusal_of(Metadata("llama").count("attention.value_length", 32)), "llama.attention.value_length"));
  CHECK(contains(refusal_of(Metadata("qwen3").count("rope.dimension_count", 8)), "qwen3.rope.dimension_count"));
}

TEST_CASE("Qwen 2, Qwen 3 and Qwen 3 MoE") {
  CHECK(config_of(Metadata("qwen2")) == expected({{"model_type", "qwen2"}}));
  CHECK(config_of(Metadata("qwen3")) == expected({{"model_type", "qwen3"}, {"attention_bias", false}}));
  Metadata moe("qwen3moe");
  moe.count("expert_count", 128).count("expert_used_count", 8).count("expert_feed_forward_length", 96);
  CHECK(config_of(moe) == expected({{"model_type", "qwen3_moe"},
                                    {"attention_bias", false},
                                    {"num_experts", 128},
                                    {"num_experts_per_tok", 8},
                                    {"moe_intermediate_size", 96},
                                    {"norm_topk_prob", true},
                                    {"decoder_sparse_step", 1},
                                    {"mlp_only_layers", json::array()}}));
  CHECK(contains(refusal_of(Metadata(moe).count("expert_gating_func", 2)), "expert_gating_func"));
  CHECK(contains(refusal_of(Metadata("qwen3moe").count("expert_count", 4)), "expert_used_count is missing"));
}

TEST_CASE("Gemma 2: caps, every second layer with a window, and the 27B model's own scale of scores") {
  json own = {{"model_type", "gemma2"},
              {"hidden_activation", "gelu_pytorch_tanh"},
              {"query_pre_attn_scalar", 16},
              {"attn_logit_softcapping", 50},
              {"final_logit_softcapping", 30},
              {"sliding_window", 4096},
              {"layer_types",
               {"sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention",
                "full_attention"}}};
  CHECK(config_of(Metadata("gemma2")) == expected(own));
  own["attn_logit_softcapping"] = 20, own["final_logit_softcapping"] = 10, own["sliding_window"] = 7;
  CHECK(config_of(Metadata("gemma2")
                      .real("attn_logit_softcapping", 20)
                      .real("final_logit_softcapping", 10)
                      .count("attention.sliding_window", 7)) == expected(own));
  Metadata large("gemma2");
  large.writer = GgufWriter();
  large.writer.text("general.architecture", "gemma2");
  large.count("block_count", 46).count("context_length", 8192).count("embedding_length", 4608);
  large.count("feed_forward_length", 36864).count("attention.head_count", 32).count("attention.key_length", 128);
  large.real("attention.layer_norm_rms_epsilon", 1e-6f);
  large.writer.boolean("tokenizer.ggml.add_bos_token", true);
  large.writer.tensor("token_embd.weight", {128, 40}, 1, std::string(128 * 40 * 2, 'w'));
  CHECK(config_of(large)["query_pre_attn_scalar"] == 144);
  CHECK(config_of(large)["layer_types"].size() == 46);
}

TEST_CASE("Gemma 3: every sixth layer sees everything, with a base and scaling of its own") {
  json local = {{"rope_type", "default"}, {"rope_theta", 10000}};
  json own = {{"model_type", "gemma3_text"},
              {"hidden_activation", "gelu_pytorch_tanh"},
              {"query_pre_attn_scalar", 16},
              {"attn_logit_softcapping", nullptr},
              {"final_logit_softcapping", nullptr},
              {"sliding_window", 512},
              {"layer_types",
               {"sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
                "full_attention"}},
              {"rope_parameters",
               {{"sliding_attention", local},
                {"full_attention", {{"rope_type", "linear"}, {"rope_theta", 500000}, {"factor", 8}}}}}};
  Metadata m("gemma3");
  m.count("attention.sliding_window", 512).text("rope.scaling.type", "linear").real("rope.scaling.factor", 8);
  CHECK(config_of(m) == expected(own));
  own["rope_parameters"]["sliding_attention"]["rope_theta"] = 20000;
  CHECK(config_of(Metadata(m).real("rope.freq_base_swa", 20000)) == expected(own));
  CHECK(config_of(Metadata(m).count("attention.sliding_window_pattern", 2))["layer_types"][1] == "full_attention");
  Metadata listed(m);
  std::string flags("\x07\0\0\0\x06\0\0\0\0\0\0\0\x01\0\x01\x01\x01\x01", 18);  // an array of 6 booleans
  listed.writer.raw("gemma3.attention.sliding_window_pattern", 9, flags);
  CHECK(config_of(listed)["layer_types"][1] == "full_attention");
  CHECK(config_of(listed)["layer_types"][5] == "sliding_attention");
  flags[4] = 5;
  Metadata fewer(m);
  fewer.writer.raw("gemma3.attention.sliding_window_pattern", 9, flags.substr(0, 17));
  CHECK(contains(refusal_of(fewer), "sliding_window_pattern has 5 elements for 6 layers"));
  json none = config_of(Metadata("gemma3"));
  CHECK(none["sliding_window"].is_null());
  CHECK(none["layer_types"][0] == "full_attention");
}

TEST_CASE("Phi-3: part of a head may turn; long context by two lists of factors") {
  json own = {{"model_type", "phi3"}, {"sliding_window", nullptr}};
  CHECK(config_of(Metadata("phi3").count("attention.sliding_window", 0).count("rope.dimension_count", 16)) ==
        expected(own));
  CHECK(config_of(Metadata("phi3").count("attention.sliding_window", 7))["sliding_window"] == 7);
  Metadata m("phi3");
  m.count("rope.scaling.original_context_length", 1024).count("rope.dimension_count", 12);
  m.vector("rope_factors_long.weight", {1, 2, 4, 8, 16, 32.5}).vector("rope_factors_short.weight", {1, 1, 1, 1, 1, 2});
  own["rope_parameters"] = {{"rope_type", "longrope"},
                            {"rope_theta", 500000},
                            {"original_max_position_embeddings", 1024},
                            {"long_factor", {1, 2, 4, 8, 16, 32.5}},
                            {"short_factor", {1, 1, 1, 1, 1, 2}},
                            {"partial_rotary_factor", 0.75}};
  CHECK(config_of(m) == expected(own));
  float usual = static_cast<float>(std::sqrt(1 + std::log(4.0) / std::log(1024.0)));
  CHECK(config_of(Metadata(m).real("rope.scaling.attn_factor", usual)) == expected(own));
  own["rope_parameters"]["attention_factor"] = 1.5;
  CHECK(config_of(Metadata(m).real("rope.scaling.attn_factor", 1.5)) == expected(own));
  CHECK(contains(refusal_of(Metadata("phi3").vector("rope_factors_long.weight", {1})), "rope_factors_short.weight"));
  Metadata few("phi3");
  few.count("rope.scaling.original_context_length", 1024);
  few.vector("rope_factors_long.weight", {1}).vector("rope_factors_short.weight", {1});
  CHECK(contains(refusal_of(few), "rope_factors_long.weight is [1, 1] of F32, expected [1, 8]"));
  CHECK(contains(refusal_of(Metadata("phi3").count("rope.dimension_count", 17)), "rope.dimension_count is 17"));
}

TEST_CASE("a share of a head that turns comes back whole when it is multiplied out and rounded down") {
  for (uint32_t head_dim : {10, 18, 22, 26, 80, 96, 98})
    for (uint32_t rotary = 2; rotary < head_dim; rotary += 2) {
      Metadata m("phi3");
      m.count("attention.key_length", head_dim).count("attention.value_length", head_dim);
      json c = config_of(m.count("rope.dimension_count", rotary));
      CHECK(static_cast<uint32_t>(head_dim * c["rope_parameters"]["partial_rotary_factor"].get<double>()) == rotary);
    }
}

TEST_CASE("Granite has multipliers") {
  Metadata m("granite");
  m.real("attention.scale", 0.0625f).real("embedding_scale", 12).real("residual_scale", 0.25f).real("logit_scale", 8);
  json own = {{"model_type", "granite"},    {"attention_bias", false},
              {"mlp_bias", false},          {"attention_multiplier", 0.0625},
              {"embedding_multiplier", 12}, {"residual_multiplier", 0.25},
              {"logits_scaling", 8}};
  CHECK(config_of(m) == expected(own));
  own["attention_multiplier"] = 0.25, own["embedding_multiplier"] = 1, own["residual_multiplier"] = 1;
  CHECK(config_of(Metadata("granite").real("logit_scale", 8)) == expected(own));
  CHECK(contains(refusal_of(Metadata("granite")), "granite.logit_scale is missing"));
  CHECK(contains(refusal_of(Metadata(m).boolean("rope.scaling.finetuned", false)), "rope.scaling.finetuned"));
}

TEST_CASE("OLMo 2, and SmolLM3 with its layers without rotary embeddings") {
  CHECK(config_of(Metadata("olmo2")) == expected({{"model_type", "olmo2"}, {"attention_bias", false}}));
  CHECK(contains(refusal_of(Metadata("olmo2").count("attention.sliding_window", 4096)), "sliding_window"));
  CHECK(config_of(Metadata("smollm3")) == expected({{"model_type", "smollm3"},
                                                    {"attention_bias", false},
                                                    {"mlp_bias", false},
                                                    {"no_rope_layer_interval", 4},
                                                    {"no_rope_layers", {1, 1, 1, 0, 1, 1}}}));
}

TEST_CASE("scaled rotary embeddings") {
  auto rope = [](Metadata m) { return config_of(std::move(m))["rope_parameters"]; };
  json plain = {{"rope_type", "default"}, {"rope_theta", 500000}};
  CHECK(rope(Metadata("llama").text("rope.scaling.type", "none").real("rope.scaling.factor", 4)) == plain);
  json linear = plain;
  linear.update({{"rope_type", "linear"}, {"factor", 4}});
  CHECK(rope(Metadata("llama").text("rope.scaling.type", "linear").real("rope.scaling.factor", 4)) == linear);
  CHECK(rope(Metadata("llama").real("rope.scale_linear", 4)) == linear);  // files of 2023
  json yarn = plain;
  yarn.update({{"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 1024}});
  Metadata m("qwen2");
  m.text("rope.scaling.type", "yarn").real("rope.scaling.factor", 4);
  CHECK(contains(refusal_of(m), "original_context_length is missing"));
  m.count("rope.scaling.original_context_length", 1024);
  CHECK(rope(m) == yarn);
  yarn.update({{"attention_factor", 1.25}, {"beta_fast", 16}, {"beta_slow", 2}});
  CHECK(rope(Metadata(m)
                 .real("rope.scaling.yarn_attn_factor", 1.25)
                 .real("rope.scaling.yarn_beta_fast", 16)
                 .real("rope.scaling.yarn_beta_slow", 2)) == yarn);
  CHECK(contains(refusal_of(Metadata(m).real("rope.scaling.yarn_ext_factor", 2)), "yarn_ext_factor"));
  CHECK(contains(refusal_of(Metadata("llama").text("rope.scaling.type", "dynamic")), "rope.scaling.type is dynamic"));
  CHECK(contains(refusal_of(Metadata("llama").text("rope.scaling.type", "longrope")), "rope.scaling.type is longrope"));
}

TEST_CASE("Llama 3's scaling stands in a tensor of divisors") {
  json rope = config_of(Metadata("llama").vector("rope_freqs.weight", {1, 1, 1, 1, 1.5, 8, 8, 8}))["rope_parameters"];
  CHECK(rope["rope_type"] == "default");
  CHECK(rope["rope_frequency_divisors"] == json({1, 1, 1, 1, 1.5, 8, 8, 8}));
  CHECK(contains(refusal_of(Metadata("llama").vector("rope_freqs.weight", {1, 2})), "expected [1, 8]"));
  CHECK(contains(refusal_of(Metadata("llama").vector("rope_freqs.weight", {1, 1, 1, 1, 1, 1, 1, 0})), "holds 0 at 7"));
  CHECK(contains(refusal_of(Metadata("llama").vector("rope_freqs.weight", {1, 1, 1, 1, 1, NAN, 1, 1})), "holds nan"));
  Metadata both("llama");
  both.vector("rope_freqs.weight", {1, 1, 1, 1, 1, 1, 1, 2}).real("rope.scale_linear", 4);
  CHECK(contains(refusal_of(both), "rope_freqs.weight stands beside scaling linear"));
}

TEST_CASE("tokens that end a text: those that the file names, and those that its template writes") {
  Metadata m("llama");
  std::vector<std::string> tokens(40, "x");
  tokens[5] = "<|eot_id|>", tokens[6] = "<|im_end|>";
  m.writer.texts("tokenizer.ggml.tokens", tokens);
  CHECK(config_of(m)["eos_token_id"] == json({2}));
  m.writer.text("tokenizer.chat_template", "{{ messages[0].content }}<|eot_id|>");
  CHECK(config_of(m)["eos_token_id"] == json({2, 5}));
  m.writer.u32("tokenizer.ggml.eot_token_id", 7);
  CHECK(config_of(m)["eos_token_id"] == json({2, 7, 5}));
  CHECK(contains(refusal_of([&] {
                   Metadata wrong("llama");
                   wrong.writer.u32("tokenizer.ggml.eot_token_id", 40);
                   return wrong;
                 }()),
                 "eot_token_id is 40, outside the vocabulary of 40"));
}

TEST_CASE("what has no place is refused by name") {
  CHECK(contains(refusal_of(Metadata("mamba")), "general.architecture is mamba; this version runs: llama, qwen2"));
  CHECK(contains(refusal_of(Metadata("llama").real("attention.something_new", 2)), "llama.attention.something_new"));
  CHECK(contains(refusal_of(Metadata("llama").real("logit_scale", 2)), "llama.logit_scale"));
  CHECK(contains(refusal_of(Metadata("llama").boolean("attention.causal", false)), "llama.attention.causal"));
  CHECK(contains(refusal_of(Metadata("qwen3").count("pooling_type", 4)), "qwen3.pooling_type"));
  CHECK(contains(refusal_of(Metadata("llama").count("vocab_size", 41)), "llama.vocab_size"));
  CHECK(contains(refusal_of(Metadata("qwen2").count("expert_count", 4)), "qwen2.expert_count"));
  CHECK(contains(refusal_of(Metadata("smollm3").real("rope.freq_base_swa", 4)), "smollm3.rope.freq_base_swa"));
  Metadata varying("llama");
  varying.writer = GgufWriter();
  varying.writer.text("general.architecture", "llama");
  varying.count("block_count", 2).count("embedding_length", 8);
  varying.writer.i32s("llama.attention.head_count", {4, 8});
  CHECK(contains(refusal_of(varying), "llama.attention.head_count has a value of an unexpected type"));
}
