#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "model/decoded.h"
#include "model/import.h"
#include "model/tiny_folder.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"
#include "testkit/tiny_model.h"

using namespace trireme;
using namespace trireme::testkit;
using nlohmann::json;

namespace {

ConvertReport convert(const TempFolder& folder, const std::string& out, WeightChoice choice = WeightChoice::keep) {
  return convert_model(folder.path().string(), out, WriterGroup::self(), {.weights = choice});
}

// "layers.1.attention.q" -> "model.layers.1.self_attn.q_proj.weight"
std::string published_name(const std::string& name) {
  const std::map<std::string, std::string> names = {{"attention_norm", "input_layernorm"},
                                                    {"mlp_norm", "post_attention_layernorm"},
                                                    {"q", "self_attn.q_proj"},
                                                    {"k", "self_attn.k_proj"},
                                                    {"v", "self_attn.v_proj"},
                                                    {"o", "self_attn.o_proj"},
                                                    {"gate", "mlp.gate_proj"},
                                                    {"up", "mlp.up_proj"},
                                                    {"down", "mlp.down_proj"}};
  if (name == "embedding") return "model.embed_tokens.weight";
  if (name == "head") return "lm_head.weight";
  if (name == "final_norm") return "model.norm.weight";
  return fmt::format("model.{}.{}.weight", name.substr(0, 8), names.at(name.substr(name.rfind('.') + 1)));
}

void check_kept(const TinyFolder& model, const std::string& path) {
  const Checkpoint checkpoint(path);
  CHECK(checkpoint.tensors().size() == model.tensors.size());
  const std::map<std::string, DType> types = {{"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16}};
  for (const TensorInfo& t : checkpoint.tensors()) {
    CAPTURE(t.name);
    const TinyFolder::Tensor& source = model.tensors.at(published_name(t.name));
    CHECK(t.format == WeightFormat{.type = t.axis == UnitAxis::none ? DType::f32 : types.at(source.type)});
    CHECK((decode(checkpoint, t) == source.values()));
  }
}

// The refusal of a model that `damage` changed before it was written.
std::string refusal(const std::function<void(TinyFolder&)>& damage) {
  TempFolder folder, out;
  TinyFolder model;
  damage(model);
  model.write(folder);
  const std::string text = error_of([&] { convert(folder, out / "a.h5"); });
  CHECK_FALSE(std::filesystem::exists(out / "a.h5"));
  return text;
}

ModelConfig converted_config(const TempFolder& folder) {
  TempFolder out;
  convert(folder, out / "a.h5");
  const Checkpoint checkpoint(out / "a.h5");
  return ModelConfig::from_json(checkpoint.config(), "a.h5");
}

}  // namespace

TEST_CASE("mixed element types in any order and any shards keep every value") {
  for (const std::vector<std::string>& types :
       std::vector<std::vector<std::string>>{{"F32"}, {"F16"}, {"BF16"}, {"BF16", "F32", "F16", "F16", "BF16"}}) {
    TempFolder out;
    TinyFolder model(types);
    std::string first;
    for (int shards : {1, 2, 5}) {
      TempFolder folder;
      model.write(folder, shards, static_cast<unsigned>(shards));
      convert(folder, out / "a.h5");
      check_kept(model, out / "a.h5");
      const std::string bytes = read_file(out / "a.h5");
      if (first.empty()) first = bytes;
      CHECK((bytes == first));
    }
  }
}

TEST_CASE("the number of ranks changes no byte of a folder's checkpoint") {
  if (std::system("mpirun --version > /dev/null 2>&1") != 0) {
    MESSAGE("skipped: conversion on 1, 2 and 3 ranks (no mpirun)");
    return;
  }
  TempFolder folder, out;
  TinyFolder model({"F32"}, 160, 352);
  model.write(folder, 3);
  for (const char* dtype : {"keep", "int4"}) {
    std::string one;
    for (int ranks : {1, 2, 3}) {
      const std::string command = fmt::format(
          "env -i PATH=\"$PATH\" HOME=\"$HOME\" ASAN_OPTIONS=\"$ASAN_OPTIONS\" OMPI_ALLOW_RUN_AS_ROOT=1 "
          "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 "
          "OMPI_MCA_hwloc_base_binding_policy=none mpirun -n {} {} {} {} {}",
          ranks, CONVERT_RANKS, folder.path().string(), out / "a.h5", dtype);
      REQUIRE(std::system(command.c_str()) == 0);
      const std::string bytes = read_file(out / "a.h5");
      if (ranks == 1) one = bytes;
      CHECK((bytes == one));
    }
  }
}

TEST_CASE("what does not fit the architecture is refused by name") {
  using M = TinyFolder;
  auto q = [](M& m) -> M::Tensor& { return m.tensors.at("model.layers.1.self_attn.q_proj.weight"); };
  CHECK(contains(refusal([](M& m) { m.tensors.erase("model.layers.1.mlp.up_proj.weight"); }),
                 "model.layers.1.mlp.up_proj.weight is missing"));
  CHECK(contains(refusal([](M& m) { m.put("model.layers.0.self_attn.q_proj.bias", "F32", {144}); }), "q_proj.bias"));
  CHECK(contains(refusal([](M& m) { m.put("model.layers.2.mlp.up_proj.weight", "F32", {1}); }), "layers.2"));
  CHECK(contains(refusal([&](M& m) { q(m).shape = {72, 288}; }), "is [72, 288], expected [144, 144]"));
  CHECK(contains(refusal([&](M& m) {
                   m.put("model.layers.1.self_attn.q_proj.weight", "I64", {144, 144}), q(m).bytes.resize(144 * 144 * 8);
                 }),
                 "q_proj.weight is stored as I64; possible are F32, F16, BF16"));
  CHECK(contains(refusal([&](M& m) {
                   m.put("model.layers.1.self_attn.q_proj.weight", "F8_E4M3", {144, 144});
                 }),
                 "F8_E4M3"));
  CHECK(contains(refusal([](M& m) { m.config["vocab_size"] = 260; }),
                 "embed_tokens.weight is [259, 144], expected [260"));
  CHECK(contains(refusal([](M& m) { m.config["num_hidden_layers"] = 3; }),
                 "model.layers.2.input_layernorm.weight is missing"));
  CHECK(contains(refusal([](M& m) { m.config["num_hidden_layers"] = 1; }), "model.layers.1."));
  CHECK(contains(refusal([](M& m) { m.config["num_hidden_layers"] = 1000000000; }), "num_hidden_layers"));
  CHECK(contains(refusal([](M& m) { m.config["num_attention_heads"] = 0; }), "num_attention_heads"));
  CHECK(contains(refusal([](M& m) { m.config["num_key_value_heads"] = 2; }), "key-value heads"));
  CHECK(contains(refusal([](M& m) { m.config["tie_word_embeddings"] = true; }), "lm_head.weight differs"));
  for (const std::string& text : {refusal([](M& m) { m.config["hidden_size"] = 0; }), refusal([](M& m) {
                                    m.config["quantization_config"] = {{"quant_method", "awq"}};
                                  }),
                                  refusal([](M& m) { m.config.erase("model_type"); })})
    CHECK(text.starts_with("65: "));
  CHECK(contains(refusal([](M& m) { m.config["quantization_config"] = {{"quant_method", "gptq"}}; }), "\"gptq\""));
}

TEST_CASE("tensors without effect may stand beside") {
  TempFolder folder, out;
  TinyFolder model;
  model.put("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {8});
  model.config["tie_word_embeddings"] = true;
  model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"];
  model.write(folder);
  convert(folder, out / "a.h5");
  CHECK(Checkpoint(out / "a.h5").find_tensor("head") == nullptr);
}

TEST_CASE("a folder that is no whole model says what is wrong") {
  auto text_of = [](const std::function<void(const TempFolder&)>& damage) {
    TempFolder folder, out;
    TinyFolder().write(folder);
    damage(folder);
    return error_of([&] { convert(folder, out / "a.h5"); });
  };
  auto without = [](const char* name) { return [name](const TempFolder& f) { std::filesystem::remove(f / name); }; };
  CHECK(text_of([](const TempFolder&) {}) == "");
  CHECK(contains(text_of(without("config.json")), "no config.json"));
  CHECK(contains(text_of(without("tokenizer.json")), "no tokenizer.json; make one"));
  CHECK(contains(text_of([&](const TempFolder& f) { without("tokenizer.json")(f), f.put("tokenizer.model", "x"); }),
                 "SentencePiece"));
  CHECK(contains(text_of(without("model.safetensors")), "neither model.safetensors"));
  CHECK(contains(text_of([](const TempFolder& f) { f.put("adapter_config.json", "{}"); }), "LoRA"));
  CHECK(contains(text_of([](const TempFolder& f) { f.put("config.json", "{\"rope_scaling\": NaN}"); }),
                 "config.json: byte"));
  CHECK(contains(text_of([](const TempFolder& f) { f.put("config.json", std::string(100000, '[')); }), "nested"));
  CHECK(contains(text_of([](const TempFolder& f) { f.put("tokenizer.json", "{}"); }), "tokenizer"));
  auto with_decoder = [&](const std::string& tokenizer) {
    return text_of([&](const TempFolder& f) {
      f.put("tokenizer.json", tokenizer);
      f.put("tokenizer_config.json", R"({"added_tokens_decoder": {"5": {"content": "<x>"}}})");
    });
  };
  CHECK(contains(with_decoder("[]"), "not a JSON object"));
  CHECK(contains(with_decoder("{\"added_tokens\": " + std::string(100000, '[')), "JSON nested 100001 deep"));
  CHECK(contains(text_of([](const TempFolder& f) { f.put("tokenizer_config.json", "["); }), "tokenizer_config.json"));
  CHECK(contains(text_of([](const TempFolder& f) { f.put("generation_config.json", R"({"eos_token_id": "x"})"); }),
                 "eos_token_id"));
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    auto loop = [&](const TempFolder& f) {
      std::filesystem::remove(f / name);
      std::filesystem::create_symlink(name, f / name);
    };
    CHECK(contains(text_of(loop), fmt::format("{} is a link that leads nowhere", name)));
  }
  const std::string cut = text_of([](const TempFolder& f) {
    std::filesystem::resize_file(f / "model.safetensors", std::filesystem::file_size(f / "model.safetensors") - 1);
  });
  CHECK(contains(cut, "model.safetensors: the tensor"));
  CHECK(contains(cut, "cut off"));
}

TEST_CASE("end-of-text and begin-of-text tokens are those of transformers") {
  TempFolder folder;
  TinyFolder model;  // tokens 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|>
  model.config["eos_token_id"] = 0;
  model.generation = {{"eos_token_id", {0, 2}}, {"do_sample", true}, {"temperature", 0.6}};
  model.tokenizer_config = {{"bos_token", nullptr}, {"eos_token", {{"content", "<|im_end|>"}}}};
  model.write(folder);
  ModelConfig c = converted_config(folder);
  CHECK(c.eos_token_ids == std::vector<int32_t>{2, 0});  // the tokenizer's own first
  CHECK(c.bos_token_id == -1);
  CHECK_FALSE(c.add_bos);
  TempFolder out;
  convert(folder, out / "a.h5");
  CHECK(json::parse(Checkpoint(out / "a.h5").read_blob("generation_config.json")) == model.generation);

  json tokenizer = json::parse(model.tokenizer_json);
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|im_start|>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", json::array()},
      {"special_tokens", {{"<|im_start|>", {{"id", "<|im_start|>"}, {"ids", {1}}, {"tokens", {"<|im_start|>"}}}}}}};
  model.tokenizer_json = tokenizer.dump();
  model.generation = nullptr;
  model.tokenizer_config = nullptr;
  TempFolder other;
  model.write(other);
  c = converted_config(other);
  CHECK(c.eos_token_ids == std::vector<int32_t>{0});
  CHECK(c.bos_token_id == 1);
  CHECK(c.add_bos);
}

TEST_CASE("the chat template: chat_template.jinja, else a text or the default of a list") {
  TempFolder folder;
  TinyFolder model;
  auto found = [&] { return ModelSource::open(folder.path().string(), ModelSource::Weights::no).chat_template; };
  model.write(folder);
  CHECK(found() == "");
  model.tokenizer_config = {
      {"chat_template", {{{"name", "tool_use"}, {"template", "T"}}, {{"name", "default"}, {"template", "D"}}}}};
  model.write(folder);
  CHECK(found() == "D");
  model.tokenizer_config["chat_template"] = "S";
  model.write(folder);
  CHECK(found() == "S");
  folder.put("chat_template.jinja", "J");
  CHECK(found() == "J");
}

TEST_CASE("added tokens that only tokenizer_config.json knows join the tokenizer") {
  TempFolder folder;
  TinyFolder model;
  json tokenizer = json::parse(model.tokenizer_json);
  tokenizer["added_tokens"].erase(2);
  model.tokenizer_json = tokenizer.dump();
  model.tokenizer_config = {{"added_tokens_decoder",
                             {{"2", {{"content", "<|im_end|>"}, {"special", true}, {"normalized", false}}},
                              {"1", {{"content", "<|im_start|>"}, {"special", true}}}}}};
  model.write(folder);
  const json joined = json::parse(ModelSource::open(folder.path().string(), ModelSource::Weights::no).tokenizer_json);
  REQUIRE(joined["added_tokens"].size() == 3);
  CHECK(joined["added_tokens"][2]["content"] == "<|im_end|>");
  CHECK(joined["added_tokens"][2]["special"] == true);
  CHECK(joined["added_tokens"][2]["lstrip"] == false);
}

TEST_CASE("--dtype fp32 and bf16 round once, to nearest even") {
  TempFolder folder, out;
  TinyFolder model({"F32", "F16", "BF16"});
  model.write(folder);
  CHECK(convert(folder, out / "a.h5", WeightChoice::fp32).classes.empty());
  const ConvertReport report = convert(folder, out / "b.h5", WeightChoice::bf16);
  const Checkpoint exact(out / "a.h5"), rounded(out / "b.h5");
  for (const TensorInfo& t : exact.tensors()) {
    std::vector<float> expected = model.tensors.at(published_name(t.name)).values();
    CHECK(t.format == WeightFormat{});
    CHECK((decode(exact, t) == expected));
    if (t.axis != UnitAxis::none)
      for (float& x : expected) x = to_float(to_bf16(x));
    CHECK((decode(rounded, rounded.get_tensor(t.name)) == expected));
  }
  CHECK(report.tensors.front().relative_rms() > 0.0005);
  CHECK(report.tensors.front().relative_rms() < 0.003);
}

TEST_CASE("--dtype int8 and int4 are near, and the error that is told is the one that was made") {
  TempFolder folder, out;
  TinyFolder model({"BF16", "F32"}, 160, 352);
  model.write(folder);
  struct Case {
    WeightChoice choice;
    WeightFormat format;
    double most;  // relative RMS of normal values in groups of 32, with some room
  };
  for (const Case& c : {Case{WeightChoice::int8, kInt8, 0.006}, Case{WeightChoice::int4, kInt4, 0.075}}) {
    const ConvertReport report = convert(folder, out / "a.h5", c.choice);
    const Checkpoint checkpoint(out / "a.h5");
    CHECK(checkpoint.unit_group() == 32);
    CHECK(report.tensors.size() == 2 * 7 + 2 - 2);
    for (const ConvertReport::Entry& entry : report.tensors) {
      CAPTURE(entry.name);
      const TensorInfo& t = checkpoint.get_tensor(entry.name);
      const bool whole_vocabulary = t.name == "embedding" || t.name == "head";
      CHECK(t.format == (whole_vocabulary ? kInt8 : c.format));
      const std::vector<float> values = model.tensors.at(published_name(t.name)).values(), seen = decode(checkpoint, t);
      double squares = 0, signal = 0;
      for (size_t i = 0; i < values.size(); i++)
        squares += std::pow(double{values[i]} - double{seen[i]}, 2), signal += std::pow(double{values[i]}, 2);
      CHECK(entry.relative_rms() == doctest::Approx(std::sqrt(squares / signal)).epsilon(1e-6));
      CHECK(entry.relative_rms() < c.most);
    }
    CHECK(checkpoint.get_tensor("layers.0.attention.o").format.bits == 0);  // 144 columns are no whole groups
    CHECK(report.tensors.front().relative_rms() >= report.tensors.back().relative_rms());
    CHECK(report.classes.front().name == "embedding");
  }
}

TEST_CASE("--dtype fp8: every matrix, by unit and row, on the units of the source; near, and as told") {
  TempFolder folder, out;
  TinyFolder model({"BF16", "F32"}, 160, 350);
  model.write(folder);
  const ConvertReport report = convert(folder, out / "a.h5", WeightChoice::fp8);
  convert(folder, out / "b.h5");
  const Checkpoint checkpoint(out / "a.h5"), plain(out / "b.h5");
  CHECK(checkpoint.unit_group() == 1);
  CHECK(report.tensors.size() == 2 * 7 + 2);
  for (const TensorInfo& t : checkpoint.tensors()) {
    CAPTURE(t.name);
    const TensorInfo& source = plain.get_tensor(t.name);
    CHECK((t.units == source.units && t.unit_rows == source.unit_rows && t.unit_columns == source.unit_columns));
    CHECK(t.format == (source.axis == UnitAxis::none ? source.format : fp8_of_unit(t.unit_columns)));
  }
  for (const ConvertReport::Entry& entry : report.tensors) {
    const TensorInfo& t = checkpoint.get_tensor(entry.name);
    const std::vector<float> values = model.tensors.at(published_name(t.name)).values(), seen = decode(checkpoint, t);
    double squares = 0, signal = 0;
    for (size_t i = 0; i < values.size(); i++)
      squares += std::pow(double{values[i]} - double{seen[i]}, 2), signal += std::pow(double{values[i]}, 2);
    CHECK(entry.relative_rms() == doctest::Approx(std::sqrt(squares / signal)).epsilon(1e-6));
    CHECK(entry.relative_rms() < 0.029);
  }
}

TEST_CASE("what cannot be quantized is refused") {
  TempFolder folder, out;
  TinyFolder model({"F32"}, 160, 352);
  const float nan = NAN;
  model.tensors["model.layers.0.mlp.up_proj.weight"].bytes.replace(400, 4, reinterpret_cast<const char*>(&nan), 4);
  model.write(folder);
  CHECK(contains(error_of([&] { convert(folder, out / "a.h5", WeightChoice::int4); }),
                 "mlp.up_proj.weight has a value that is not finite"));
  convert(folder, out / "a.h5");
  TinyModel quantized;
  quantized.heads = 14, quantized.kv_heads = 2, quantized.hidden = 160, quantized.intermediate = 352,
  quantized.type = "q4_1";
  write_file(out / "a.gguf", quantized.writer().build());
  auto convert_gguf = [&](WeightChoice choice) {
    return error_of([&] { convert_model(out / "a.gguf", out / "b.h5", WriterGroup::self(), {.weights = choice}); });
  };
  CHECK(contains(convert_gguf(WeightChoice::int4), "is Q4_1 already"));
  CHECK(contains(convert_gguf(WeightChoice::fp8), "is Q4_1 already"));
  CHECK(convert_gguf(WeightChoice::fp32) == "");
  const Checkpoint exact(out / "b.h5");
  CHECK(exact.get_tensor("layers.0.mlp.down").format == WeightFormat{});
  convert_model(out / "a.gguf", out / "c.h5", WriterGroup::self());
  const Checkpoint kept(out / "c.h5");
  for (const TensorInfo& t : exact.tensors()) CHECK((decode(exact, t) == decode(kept, kept.get_tensor(t.name))));
}
