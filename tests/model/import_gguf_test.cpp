#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "model/decoded.h"
#include "model/import.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"
#include "testkit/tiny_model.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

float half(const std::byte* at) { return to_float(F16{load<uint16_t>(at)}); }
int code(const std::byte* at) { return std::to_integer<int>(*at); }
int nibble(const std::byte* codes, int i) { return i < 16 ? code(codes + i) & 15 : code(codes + i - 16) >> 4; }
float int8(const std::byte* at) { return static_cast<float>(static_cast<int8_t>(code(at))); }

// ggml's own dequantization, written from its definition and apart from the converter: value i of a block.
float (*value_of_block(std::string_view type))(const std::byte* block, int i) {
  if (type == "F32") return [](const std::byte* b, int) { return load<float>(b); };
  if (type == "F16") return [](const std::byte* b, int) { return half(b); };
  if (type == "BF16") return [](const std::byte* b, int) { return to_float(BF16{load<uint16_t>(b)}); };
  if (type == "Q8_0") return [](const std::byte* b, int i) { return int8(b + 2 + i) * half(b); };
  if (type == "Q4_0")
    return [](const std::byte* b, int i) { return static_cast<float>(nibble(b + 2, i) - 8) * half(b); };
  REQUIRE(type == "Q4_1");
  return [](const std::byte* b, int i) { return static_cast<float>(nibble(b + 4, i)) * half(b) + half(b + 2); };
}

std::vector<float> dequantize(const GgufTensor& t) {
  std::vector<std::byte> raw(t.row_bytes * static_cast<size_t>(t.rows));
  t.file->read(t.offset, raw, "tensor");
  const auto value = value_of_block(t.type->name);
  std::vector<float> values;
  for (const std::byte* at = raw.data(); at < raw.data() + raw.size(); at += t.type->bytes)
    for (int i = 0; i < t.type->columns; i++) values.push_back(value(at, i));
  return values;
}

// Row of a head in GGUF order -> in transformers' order (llama.cpp's converter does the inverse).
int64_t transformers_row(int64_t row, int64_t head_dim) {
  int64_t pair = row % head_dim;
  return row - pair + pair / 2 + (pair % 2 == 1 ? head_dim / 2 : 0);
}

void check_equal(const std::string& source, const std::string& destination) {
  Gguf gguf(source);
  ModelSource opened = ModelSource::open(source);
  ModelImport model(opened, WeightChoice::keep);
  Checkpoint checkpoint(destination);
  REQUIRE(checkpoint.tensors().size() == model.plans.size());
  for (const TensorPlan& plan : model.plans) {
    const TensorInfo& t = checkpoint.get_tensor(plan.info.name);
    CAPTURE(t.name);
    const GgufTensor* from = gguf.find_tensor(plan.slices.at(0).tensor->name);
    std::vector<float> expected = dequantize(*from), seen = decode(checkpoint, t);
    REQUIRE(expected.size() == seen.size());
    bool rope = t.name.ends_with(".q") || t.name.ends_with(".k");
    int64_t wrong = 0;
    for (int64_t r = 0; r < t.rows; r++)
      for (int64_t c = 0; c < t.columns; c++)
        wrong += expected[static_cast<size_t>(r * t.columns + c)] !=
                 seen[static_cast<size_t>((rope ? transformers_row(r, model.config.head_dim) : r) * t.columns + c)];
    CHECK(wrong == 0);
  }
}

// The exit code of h5py_oracle.py, which compares through h5py, numpy and the gguf package; 77: this Python lacks them.
int run_h5py_oracle(const std::string& source, const std::string& destination) {
  const char* python = std::getenv("TRIREME_TEST_PYTHON");
  int status = std::system(
      fmt::format("{} {} {} {} > /dev/null", python ? python : "python3", H5PY_ORACLE, source, destination).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void convert(const std::string& source, const std::string& destination) {
  convert_model(source, destination, WriterGroup::self());
}

std::string real_model() {
  const char* named = std::getenv("TRIREME_TEST_MODEL");
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::string folder = cache ? cache : std::string(home ? home : ".") + "/.cache";
  std::string path = named ? named : folder + "/trireme/SmolLM2-135M-Instruct.Q4_1.gguf";
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace

TEST_CASE("every format and odd shape converts without changing a value") {
  TempFolder folder;
  TinyModel odd;  // hidden 144, intermediate 200, vocabulary 259: no power of two in sight
  TinyModel even;
  even.heads = 14, even.kv_heads = 2, even.hidden = 160, even.intermediate = 352, even.vocab = 1031, even.layers = 2;
  for (const char* type : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"}) {
    for (bool tied : {false, true}) {
      CAPTURE(type);
      TinyModel m = type[0] == 'q' ? even : odd;
      m.type = type, m.tied = tied;
      write_file(folder / "a.gguf", m.writer().build());
      convert(folder / "a.gguf", folder / "a.h5");
      check_equal(folder / "a.gguf", folder / "a.h5");
    }
  }
}

TEST_CASE("config, tokenizer and template come along") {
  TempFolder folder;
  TinyModel m;
  m.vocab = 300;
  write_file(folder / "a.gguf", m.writer().build());
  convert(folder / "a.gguf", folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  ModelConfig c = ModelConfig::from_json(checkpoint.config(), checkpoint.path());
  CHECK(c.num_heads == 9);
  CHECK(c.vocab_size == 300);
  CHECK(c.eos_token_ids == std::vector<int32_t>{2});
  CHECK(c.rms_norm_eps == 1e-5);
  CHECK_FALSE(c.tie_word_embeddings);
  CHECK(contains(checkpoint.read_blob("chat_template.jinja"), "<|im_start|>"));
  auto tokenizer = nlohmann::json::parse(checkpoint.read_blob("tokenizer.json"));
  CHECK(tokenizer["model"]["vocab"].size() == 300);
  CHECK(tokenizer["model"]["merges"].size() == 300 - 259);
  CHECK(tokenizer["added_tokens"].size() == 3);
  CHECK(tokenizer["added_tokens"][1]["content"] == "<|im_start|>");
  CHECK(tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"] == "Digits");
  CHECK(checkpoint.unit_formula() == kUnitFormulaVersion);
  CHECK(UnitTable::of(c, checkpoint.unit_group()).mlp_units == checkpoint.get_tensor("layers.0.mlp.down").units);
}

TEST_CASE("a GGUF file that is no llama of ours is refused by name") {
  TempFolder folder;
  TinyModel m;
  auto refused = [&](GgufWriter w) {
    write_file(folder / "a.gguf", w.build());
    std::string text = error_of([&] { convert(folder / "a.gguf", folder / "a.h5"); });
    CHECK(text.starts_with("65: "));
    CHECK_FALSE(std::filesystem::exists(folder / "a.h5"));
    return text;
  };
  CHECK(contains(refused(GgufWriter().text("general.architecture", "mamba")), "mamba"));
  CHECK(contains(refused(GgufWriter().text("general.architecture", "llama")), "llama."));
  CHECK(contains(refused(m.writer().text("llama.rope.scaling.type", "ntk")), "llama.rope.scaling.type"));
  CHECK(contains(refused(m.writer().u32("llama.expert_count", 8)), "llama.expert_used_count"));
  GgufWriter experts = m.writer().u32("llama.expert_count", 8).u32("llama.expert_used_count", 2);
  CHECK(contains(refused(experts), "blk.0.ffn_gate_inp.weight is missing"));
  CHECK(contains(refused(m.writer().f32("llama.attention.something_new", 2)), "something_new"));
  CHECK(contains(refused(m.writer().tensor("rope_freqs.weight", {7}, 0, std::string(28, 'r'))), "rope_freqs"));
  CHECK(contains(refused(m.writer().tensor("blk.0.attn_q.bias", {144}, 0, std::string(576, 'b'))),
                 "attn_k.bias is missing"));
  CHECK(contains(refused(m.writer().tensor("blk.9.attn_q.weight", {1}, 0, "bbbb")), "blk.9.attn_q.weight"));
  CHECK(contains(refused(m.writer().u32("tokenizer.ggml.eot_token_id", 259)), "eot_token_id"));
}

TEST_CASE("damage to metadata of a whole model is refused by name") {
  TempFolder folder;
  TinyModel tiny;
  GgufWriter writer = tiny.writer();
  const std::string valid = writer.build();
  auto refused = [&](const std::string& mark, size_t skip, std::string_view bytes, const std::string& word) {
    std::string file = valid;
    for (const GgufWriter::Mark& m : writer.marks())
      if (m.what == mark) file.replace(m.begin + skip, bytes.size(), bytes);
    REQUIRE(file != valid);
    write_file(folder / "a.gguf", file);
    std::string text = error_of([&] { convert(folder / "a.gguf", folder / "a.h5"); });
    CAPTURE(mark);
    CHECK(text.starts_with("65: "));
    CHECK(contains(text, word));
  };
  using std::string_view_literals::operator""sv;
  refused("value:llama.block_count", 0, "\x02\0\0\0"sv, "blk.2.");
  refused("value:llama.block_count", 0, "\x04\0\0\0"sv, "blk.3.attn_norm.weight is missing");
  refused("value:llama.block_count", 0, "\xff\xff\xff\xff"sv, "num_hidden_layers");
  refused("value:llama.attention.head_count", 0, "\0\0\0\0"sv, "num_attention_heads");
  refused("value:llama.attention.head_count_kv", 0, "\x02\0\0\0"sv, "key-value heads");
  refused("value:llama.attention.key_length", 0, "\x11\0\0\0"sv, "value_length");
  refused("value:llama.rope.dimension_count", 0, "\x08\0\0\0"sv, "rope.dimension_count");
  refused("value:llama.embedding_length", 0, "\x91\0\0\0"sv, "expected");
  refused("value:llama.feed_forward_length", 0, "\0\0\0\x7f"sv, "intermediate_size");
  refused("value:llama.vocab_size", 0, "\x04\x01\0\0"sv, "llama.vocab_size");
  refused("value:llama.attention.layer_norm_rms_epsilon", 0, "\0\0\xc0\x7f"sv, "rms_norm_eps");
  refused("value:llama.rope.freq_base", 0, "\0\0\x80\x7f"sv, "rope_theta");
  refused("key:llama.rope.freq_base", 8, "llama.rope.freq_bas2"sv, "freq_bas2");
  refused("name:blk.1.ffn_up.weight", 8, "blk.1.ffn_uq.weight"sv, "blk.1.ffn_up.weight is missing");
  refused("dimension:blk.1.ffn_up.weight", 0, "\x48\0\0\0"sv, "blk.1.ffn_up.weight is [");
  refused("value:tokenizer.ggml.pre", 8, "smollx"sv, "smollx");
  refused("value:tokenizer.ggml.model", 8, "bert"sv, "bert");
  refused("value:tokenizer.ggml.tokens", 12 + 8, "\xff\xfe\xff"sv, "UTF-8");
  refused("value:tokenizer.ggml.eos_token_id", 0, "\x03\x01\0\0"sv, "eos_token_id");
  CHECK(std::filesystem::is_empty(folder.path()) == false);  // a.gguf alone
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("the number of ranks does not change a byte") {
  if (std::system("mpirun --version > /dev/null 2>&1") != 0) {
    MESSAGE("skipped: conversion on 1, 2 and 3 ranks (no mpirun)");
    return;
  }
  TempFolder folder;
  TinyModel m;
  m.type = "bf16";
  write_file(folder / "a.gguf", m.writer().build());
  auto run = [&](int ranks) {
    std::string out = folder / fmt::format("{}.h5", ranks);
    // Nothing of this process's own MPI may reach mpirun.
    std::string command = fmt::format(
        "env -i PATH=\"$PATH\" HOME=\"$HOME\" ASAN_OPTIONS=\"$ASAN_OPTIONS\" OMPI_ALLOW_RUN_AS_ROOT=1 "
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
        "OMPI_MCA_rmaps_base_oversubscribe=1 "
        "OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none "
        "mpirun -n {} {} {} {}",
        ranks, CONVERT_RANKS, folder / "a.gguf", out);
    REQUIRE(std::system(command.c_str()) == 0);
    return read_file(out);
  };
  const std::string one = run(1);
  CHECK(one.size() > 100000);
  for (int ranks : {2, 3, 5}) CHECK((run(ranks) == one));
}

TEST_CASE("SmolLM2-135M-Instruct converts without changing a value") {
  std::string path = real_model();
  if (path.empty()) {
    MESSAGE("skipped: the real model (set TRIREME_TEST_MODEL, or run launch/quickstart.sh)");
    return;
  }
  TempFolder folder;
  uint64_t last = 0;
  auto progress = [&](uint64_t done, uint64_t total) {
    CHECK(done > last);
    CHECK(done <= total);
    last = done;
  };
  convert_model(path, folder / "a.h5", WriterGroup::self(), {.progress = progress});
  CHECK(last > 90000000);
  check_equal(path, folder / "a.h5");
}

TEST_CASE("h5py reads the values that the gguf package reads") {
  TempFolder folder;
  TinyModel m;
  m.heads = 14, m.kv_heads = 2, m.hidden = 160, m.intermediate = 352, m.vocab = 1031, m.layers = 1;
  std::vector<std::string> sources;
  for (const char* type : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"}) {
    m.type = type;
    sources.push_back(folder / fmt::format("{}.gguf", type));
    write_file(sources.back(), m.writer().build());
  }
  if (std::string path = real_model(); !path.empty()) sources.push_back(path);
  for (const std::string& source : sources) {
    CAPTURE(source);
    convert(source, folder / "a.h5");
    int code = run_h5py_oracle(source, folder / "a.h5");
    if (code == 77) {
      MESSAGE("skipped: h5py as an oracle (needs the packages h5py and gguf; TRIREME_TEST_PYTHON names the Python)");
      return;
    }
    CHECK(code == 0);
  }
}
