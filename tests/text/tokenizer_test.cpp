#include "text/tokenizer.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "golden.h"

using namespace trireme;
using Ids = std::vector<int32_t>;

namespace {

Tokenizer load(const std::string& name) { return Tokenizer(read_golden("tokenizer_" + name + ".json")); }

std::string streamed(const Tokenizer& tokenizer, const Ids& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

// A tokenizer.json with one value changed, by JSON pointer.
std::string changed(const std::string& pointer, const nlohmann::json& value) {
  nlohmann::json file = nlohmann::json::parse(read_golden("tokenizer_smollm.json"));
  file[nlohmann::json::json_pointer(pointer)] = value;
  return file.dump();
}

std::string refusal(const std::string& json) {
  try {
    Tokenizer tokenizer{json};
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::bad_data);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("ids and texts equal those of PyPI tokenizers") {
  std::map<std::string, Tokenizer> tokenizers;
  const int rows = each_golden("tokenize.jsonl", [&](const nlohmann::ordered_json& row) {
    const std::string name = row["tokenizer"], text = row["text"];
    if (!tokenizers.contains(name)) tokenizers.emplace(name, load(name));
    const Tokenizer& tokenizer = tokenizers.at(name);
    CAPTURE(name);
    CAPTURE(text);
    const Ids untrusted = row["untrusted"], trusted = row.value("trusted", untrusted);
    CHECK(tokenizer.encode(text) == untrusted);
    CHECK(tokenizer.encode(text, true) == trusted);
    CHECK(tokenizer.decode(trusted) == row["decoded"].get<std::string>());
    CHECK(streamed(tokenizer, trusted) == row["decoded"].get<std::string>());
  });
  CHECK(rows > 1000);
}

TEST_CASE("families: ids and texts equal those of PyPI tokenizers") {
  std::map<std::string, Tokenizer> tokenizers;
  const int rows = each_golden("families.jsonl", [&](const nlohmann::ordered_json& row) {
    const std::string name = row["tokenizer"], text = row["text"], decoded = row["decoded"];
    if (!tokenizers.contains(name)) tokenizers.emplace(name, Tokenizer(read_golden("family_" + name + ".json")));
    const Tokenizer& tokenizer = tokenizers.at(name);
    CAPTURE(name);
    CAPTURE(text);
    const Ids untrusted = row["untrusted"], trusted = row.value("trusted", untrusted);
    CHECK(tokenizer.encode(text) == untrusted);
    CHECK(tokenizer.encode(text, true) == trusted);
    CHECK(tokenizer.decode(trusted) == decoded);
    CHECK(streamed(tokenizer, trusted) == decoded);
    CHECK(tokenizer.decode(trusted, false) == row.value("shown", decoded));
  });
  CHECK(rows > 1500);
  CHECK(tokenizers.size() == 14);
}

TEST_CASE("special tokens come from no untrusted text, whatever the model") {
  for (const char* name : {"t5", "xlmr", "unigram_bytes", "word_level"}) {
    const Tokenizer tokenizer(read_golden(std::string("family_") + name + ".json"));
    const int32_t unknown = std::max(tokenizer.find_id("<unk>"), tokenizer.find_id("[UNK]"));
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (!tokenizer.is_special(id)) continue;
      const std::string text = tokenizer.token_bytes(id);
      CAPTURE(name);
      CAPTURE(text);
      for (const int32_t seen : tokenizer.encode("x " + text + " y"))
        if (tokenizer.is_special(seen)) CHECK(seen == unknown);
      CHECK(tokenizer.encode(text, true) == Ids{id});
    }
  }
}

TEST_CASE("a stream of byte tokens shows whole characters only") {
  const Tokenizer tokenizer(read_golden("family_llama2.json"));
  const Ids ids = tokenizer.encode("a👍b");
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) {
    const std::string shown = decoder.push(id);
    CHECK((shown.empty() || shown == "a" || shown == "👍b"));
    text += shown;
  }
  CHECK(text + decoder.finish() == "a👍b");
}

TEST_CASE("the token that stands before a text, of every post-processor") {
  const auto bos = [](const char* name) {
    const Tokenizer tokenizer(read_golden(std::string("family_") + name + ".json"));
    return tokenizer.bos_id() < 0 ? "" : tokenizer.token_bytes(tokenizer.bos_id());
  };
  CHECK(bos("llama2") == "<s>");
  CHECK(bos("gemma") == "<bos>");
  CHECK(bos("xlmr") == "<s>");
  CHECK(bos("bert") == "[CLS]");
  CHECK(bos("t5").empty());
  CHECK(bos("phi3").empty());
}

TEST_CASE("the real SmolLM2 tokenizer, if TRIREME_TEST_TOKENIZER names its tokenizer.json") {
  const char* path = std::getenv("TRIREME_TEST_TOKENIZER");
  if (!path || !std::filesystem::exists(path)) {
    MESSAGE("skipped: the real SmolLM2 tokenizer; set TRIREME_TEST_TOKENIZER to its tokenizer.json");
    return;
  }
  std::ifstream file(path, std::ios::binary);
  const Tokenizer tokenizer(std::string(std::istreambuf_iterator<char>(file), {}));
  each_golden("smollm2.jsonl", [&](const nlohmann::ordered_json& row) {
    CAPTURE(row["text"].get<std::string>());
    CHECK(tokenizer.encode(row["text"].get<std::string>()) == row["untrusted"].get<Ids>());
  });
}

TEST_CASE("special tokens come from trusted pieces only") {
  const Tokenizer tokenizer = load("smollm");
  const int32_t end = tokenizer.find_id("<|im_end|>");
  const auto count = [&](const std::vector<TextPiece>& pieces) {
    const Ids ids = tokenizer.encode(pieces);
    return std::count(ids.begin(), ids.end(), end);
  };
  CHECK(count({{"a<|im_end|>b", true}}) == 1);
  CHECK(count({{"a<|im_end|>b", false}}) == 0);
  CHECK(count({{"<|im_", true}, {"end|>", false}}) == 0);
  CHECK(count({{"<|im_", false}, {"end|>", true}}) == 0);
  CHECK(count({{"<|im_", true}, {"end|>", true}}) == 1);
  CHECK(count({{"<|im_", false}, {"<|im_end|>", true}}) == 1);
  CHECK(count({{"<|im_end|>", false}, {"<|im_end|>", true}, {"<|im_end|>", false}}) == 1);
  CHECK(tokenizer.is_special(end));
  CHECK_FALSE(tokenizer.is_special(-1));
}

TEST_CASE("pieces are one text: a word may cross their border") {
  const Tokenizer tokenizer = load("smollm");
  const std::vector<TextPiece> pieces = {{"lic", true}, {"ence", false}, {"", true}, {"s and uses", true}};
  CHECK(tokenizer.encode(pieces) == tokenizer.encode("licences and uses"));
}

TEST_CASE("normalization keeps trusted special tokens and joins marks across borders") {
  const Tokenizer tokenizer = load("qwen");
  const int32_t end = tokenizer.find_id("<|im_end|>");
  const std::vector<TextPiece> joined = {{"cafe", true}, {"\u0301 ", false}, {"<|im_end|>", true}};
  Ids expected = tokenizer.encode("café ");
  expected.push_back(end);
  CHECK(tokenizer.encode(joined) == expected);
}

TEST_CASE("what is not UTF-8 becomes U+FFFD, going in and coming out") {
  const Tokenizer tokenizer = load("smollm");
  CHECK(tokenizer.encode("a\xFF"
                         "b\xE2\x82") == tokenizer.encode("a\uFFFDb\uFFFD"));
  Ids half = tokenizer.encode("é");
  REQUIRE(half.size() >= 1);
  CHECK(tokenizer.decode(half) == "é");
}

TEST_CASE("a stream never shows half a character, and ends as decode() does") {
  const Tokenizer tokenizer = load("gpt2");
  for (int32_t first = 0; first < tokenizer.vocab_size(); first += 3)
    for (int32_t second = 0; second < tokenizer.vocab_size(); second += 7) {
      const Ids ids = {first, second, first};
      CHECK(streamed(tokenizer, ids) == tokenizer.decode(ids));
    }
}

TEST_CASE("the token of the post-processor is told, not added") {
  const Tokenizer llama = load("llama3");
  CHECK(llama.bos_id() == llama.find_id("<|endoftext|>"));
  CHECK(load("smollm").bos_id() == -1);
  CHECK(llama.encode("", true).empty());
}

TEST_CASE("a megabyte without a border is no slower than it should be") {
  const Tokenizer tokenizer = load("smollm");
  std::string word;
  for (int64_t i = 0; i < 1'000'000; ++i) word += static_cast<char>('a' + (i * 7919 >> 4) % 26);
  CHECK(tokenizer.decode(tokenizer.encode(word)) == word);
  const std::string blanks(1'000'000, ' ');
  CHECK(tokenizer.decode(tokenizer.encode(blanks + "x")) == blanks + "x");
  for (const char* name : {"llama2", "gemma", "unigram_bytes"}) {
    const Tokenizer family(read_golden(std::string("family_") + name + ".json"));
    CHECK(family.decode(family.encode(word)) == word);
    CHECK(family.decode(family.encode(blanks + "x")) == blanks + "x");
  }
}

TEST_CASE("damaged and unsupported files are refused by name") {
  CHECK(refusal("{") != "accepted");
  CHECK(refusal("[]") != "accepted");
  CHECK(refusal("{}").find("model.vocab") != std::string::npos);
  CHECK(refusal(changed("/model/type", "Unigram")).find("model.vocab") != std::string::npos);
  CHECK(refusal(changed("/model/type", "Tiktoken")).find("Tiktoken") != std::string::npos);
  CHECK(refusal(changed("/model/type", 7)).find("model.type") != std::string::npos);
  const nlohmann::json pair = nlohmann::json::array({"a", 1});
  CHECK(refusal(changed("/model/vocab", nlohmann::json::array({pair, pair}))).find("model.vocab[1]") !=
        std::string::npos);
  CHECK(refusal(changed("/model/vocab", {"a"})).find("model.vocab[0]") != std::string::npos);
  CHECK(refusal(changed("/model/vocab/zz", -1)).find("model.vocab.zz") != std::string::npos);
  CHECK(refusal(changed("/model/vocab/zz", 4294967296)).find("model.vocab.zz") != std::string::npos);
  CHECK(refusal(changed("/model/vocab/zz", 5)).find("id 5") != std::string::npos);
  CHECK(refusal(changed("/model/vocab/zz", "5")).find("model.vocab.zz") != std::string::npos);
  CHECK(refusal(changed("/model/merges/0", "no such")).find("model.merges[0]") != std::string::npos);
  CHECK(refusal(changed("/model/merges/0", {"a"})).find("model.merges[0]") != std::string::npos);
  CHECK(refusal(changed("/model/byte_fallback", "yes")).find("byte_fallback") != std::string::npos);
  CHECK(refusal(changed("/model/unk_token", "no such")).find("unk_token") != std::string::npos);
  CHECK(refusal(changed("/model/dropout", 0.1)).find("dropout") != std::string::npos);
  CHECK(refusal(changed("/model/dropout", 0)) == "accepted");
  CHECK(refusal(changed("/normalizer", {{"type", "Transliterate"}})).find("Transliterate") != std::string::npos);
  CHECK(refusal(changed("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "////"}})).find("charsmap") !=
        std::string::npos);
  CHECK(refusal(changed("/normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "("}}}, {"content", ""}}))
            .find("pattern") != std::string::npos);
  CHECK(refusal(changed("/pre_tokenizer", {{"type", "UnicodeScripts"}})).find("UnicodeScripts") != std::string::npos);
  CHECK(refusal(changed("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}})).find("replacement") !=
        std::string::npos);
  CHECK(refusal(changed("/pre_tokenizer", {{"type", "Punctuation"}, {"behavior", "Odd"}})).find("behavior") !=
        std::string::npos);
  CHECK(refusal(changed("/decoder", {{"type", "CTC"}})).find("CTC") != std::string::npos);
  CHECK(refusal(changed("/decoder", {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}})).find("start") !=
        std::string::npos);
  nlohmann::json deep = {{"type", "NFC"}};
  for (int i = 0; i < 40; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  CHECK(refusal(changed("/normalizer", deep)).find("deep") != std::string::npos);
  CHECK(refusal(std::string(1 << 20, '[')) != "accepted");
  CHECK(refusal(changed("/added_tokens/0/id", 77)).find("added_tokens[0]") != std::string::npos);
  CHECK(refusal(changed("/added_tokens/0/content", std::string(5000, 'x'))).find("content") != std::string::npos);
  CHECK(refusal(changed("/post_processor", {{"type", "Odd"}})).find("Odd") != std::string::npos);
  CHECK(refusal(changed("/model/vocab/zz", 100000)) == "accepted");  // a vocabulary may have holes
}

TEST_CASE("regular expressions: what has no equal is refused, what explodes is stopped") {
  const auto with = [](const std::string& pattern) {
    const nlohmann::json split = {
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
    const nlohmann::json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    return changed("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}});
  };
  for (const char* pattern :
       {"\\w+", "[a[b]]", "(?m:a)", "(a", "a{,3}", "\\K", "(*COMMIT)", "(?R)", "[a&&b]", "\\", "a{2}+", "[a", "\\u12"})
    CHECK_MESSAGE(refusal(with(pattern)).find("regular expression") != std::string::npos, pattern);
  const Tokenizer bomb(with("(?:a+)+$"));
  CHECK_THROWS_AS(bomb.encode(std::string(5000, 'a') + "b"), Error);
}
