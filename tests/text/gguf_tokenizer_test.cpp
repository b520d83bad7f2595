#include "model/gguf_tokenizer.h"

#include <doctest/doctest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "golden.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"
#include "text/tokenizer.h"

using namespace trireme;
using namespace trireme::testkit;
using nlohmann::json;

namespace {

// The parts of a GGUF file that a tokenizer is made from.
struct Table {
  std::string model = "llama", architecture = "llama", pre;
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;
  std::vector<int32_t> types;
  int prefix = -1;  // add_space_prefix: absent, false, true

  GgufWriter writer() const {
    GgufWriter w;
    w.text("general.architecture", architecture).text("tokenizer.ggml.model", model);
    if (!pre.empty()) w.text("tokenizer.ggml.pre", pre);
    w.texts("tokenizer.ggml.tokens", tokens).i32s("tokenizer.ggml.token_type", types);
    if (!scores.empty()) w.f32s("tokenizer.ggml.scores", scores);
    if (!merges.empty()) w.texts("tokenizer.ggml.merges", merges);
    if (prefix >= 0) w.boolean("tokenizer.ggml.add_space_prefix", prefix == 1);
    return w;
  }
};

std::string json_of(GgufWriter writer) {
  TempFolder folder;
  write_file(folder / "t.gguf", writer.build());
  return gguf_tokenizer_json(Gguf(folder / "t.gguf"));
}

Table small() {
  Table t;
  t.tokens = {"<unk>", "<s>", "</s>", "<0x09>", "\u2581", "a", "b", "ab", "aa", "\u2581a", "\t\t", "x"};
  t.types = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4, 5};
  t.scores = {0, 0, 0, 0, -9, -9, -9, -2, -3, -1, 0, -5};
  return t;
}

}  // namespace

TEST_CASE("SentencePiece files: merges and ids equal those of transformers and tokenizers") {
  const int files = each_golden("gguf.jsonl", [&](const nlohmann::ordered_json& row) {
    Table t{
        .architecture = row["architecture"], .tokens = row["tokens"], .scores = row["scores"], .types = row["types"]};
    t.prefix = row["prefix"];
    CAPTURE(row["name"].get<std::string>());
    const std::string text = json_of(t.writer());
    CHECK(json::parse(text)["model"]["merges"] == json::parse(row["merges"].dump()));
    const Tokenizer tokenizer(text);
    for (const auto& line : row["rows"]) {
      CAPTURE(line["text"].get<std::string>());
      CHECK(tokenizer.encode(line["text"].get<std::string>()) == line["untrusted"].get<std::vector<int32_t>>());
      CHECK(tokenizer.encode(line["text"].get<std::string>(), true) == line["trusted"].get<std::vector<int32_t>>());
      CHECK(tokenizer.decode(line["trusted"].get<std::vector<int32_t>>()) == line["decoded"].get<std::string>());
    }
  });
  CHECK(files >= 3);
}

TEST_CASE("kinds of tokens: control, user defined, byte, unused, unknown") {
  const Tokenizer tokenizer(json_of(small().writer()));
  const auto ids = [&](std::string_view text, bool trusted = false) { return tokenizer.encode(text, trusted); };
  using Ids = std::vector<int32_t>;
  CHECK(ids("ab") == Ids{9, 6});  // the better score first
  CHECK(ids("</s>", true) == Ids{2});
  CHECK(ids("\t") == Ids{4, 3});  // a byte
  CHECK(ids("\t\t") == Ids{10});  // user defined: found in any text
  CHECK(ids("x") == Ids{4, 0});   // unused: as if it were not there
  CHECK(tokenizer.is_special(0));
  CHECK_FALSE(tokenizer.is_special(10));
  CHECK(tokenizer.decode(Ids{1, 9, 3, 4, 5}) == "a\t a");
}

TEST_CASE("what the file says of the blank before a text, and what Phi-3 strips") {
  Table t = small();
  t.prefix = 0;
  CHECK(Tokenizer(json_of(t.writer())).encode("a") == std::vector<int32_t>{5});
  t = small();
  t.architecture = "phi3";
  CHECK(Tokenizer(json_of(t.writer())).encode("</s> \n", true) == std::vector<int32_t>{2});
  CHECK(Tokenizer(json_of(small().writer())).encode("</s> ", true) == std::vector<int32_t>{2, 4, 4});
}

TEST_CASE("BOS stands before a completion when the file or its kind says so") {
  const auto adds = [](GgufWriter writer) {
    TempFolder folder;
    write_file(folder / "t.gguf", writer.build());
    return gguf_adds_bos(Gguf(folder / "t.gguf"));
  };
  Table t = small();
  CHECK(adds(t.writer()));
  CHECK_FALSE(adds(t.writer().boolean("tokenizer.ggml.add_bos_token", false)));
  t.model = "gpt2";
  const std::pair<const char*, bool> kinds[] = {{"llama-bpe", true}, {"tekken", true},  {"smaug-bpe", false},
                                                {"qwen2", false},    {"gpt-2", false},  {"dbrx", false},
                                                {"refact", false},   {"smollm", false}, {"default", false}};
  for (const auto& [pre, expected] : kinds) {
    t.pre = pre;
    CAPTURE(pre);
    CHECK(adds(t.writer()) == expected);
  }
}

TEST_CASE("every pre-tokenizer of byte-level files makes a tokenizer that works") {
  Table t{.model = "gpt2",
          .tokens = {"a", "1", "\u0120", "\u010A", "aa", "11"},
          .merges = {"a a", "1 1"},
          .types = {1, 1, 1, 1, 1, 1}};
  const std::pair<const char*, size_t> kinds[] = {// the tokens of "aa 11\n"
                                                  {"default", 4}, {"gpt-2", 4}, {"smollm", 5},    {"starcoder", 5},
                                                  {"refact", 5},  {"olmo", 4},  {"llama-bpe", 4}, {"smaug-bpe", 4},
                                                  {"dbrx", 4},    {"qwen2", 5}, {"tekken", 5},    {"gpt-4o", 4}};
  for (const auto& [pre, count] : kinds) {
    t.pre = pre;
    CAPTURE(pre);
    const Tokenizer tokenizer(json_of(t.writer()));
    CHECK(tokenizer.encode("aa 11\n").size() == count);
    CHECK(tokenizer.decode(tokenizer.encode("aa 11\n")) == "aa 11\n");
  }
}

TEST_CASE("damaged tokenizers of GGUF files are refused by field") {
  const auto refused = [](const Table& t, const char* field) {
    const std::string error = error_of([&] { json_of(t.writer()); });
    CHECK_MESSAGE((error.starts_with("65: ") && contains(error, field)), error);
  };
  Table t = small();
  t.scores.pop_back();
  refused(t, "tokenizer.ggml.scores");
  t = small();
  t.scores[3] = std::numeric_limits<float>::quiet_NaN();
  refused(t, "tokenizer.ggml.scores[3]");
  t = small();
  t.scores.clear();
  refused(t, "tokenizer.ggml.scores");
  t = small();
  t.types.pop_back();
  refused(t, "tokenizer.ggml.token_type");
  t = small();
  t.tokens[5] = "b";
  refused(t, "tokenizer.ggml.tokens");
  t = small();
  t.tokens[5] = std::string(600, 'b');
  refused(t, "tokenizer.ggml.tokens[5]");
  t = small();
  t.tokens[7] = "\xff";
  refused(t, "UTF-8");
  t = small();
  t.model = "t5";
  refused(t, "tokenizer.ggml.model");
  t.model = "gpt2";
  refused(t, "tokenizer.ggml.pre");
  t.pre = "bloom";
  refused(t, "bloom");
}
