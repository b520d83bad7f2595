#include "model/gguf_tokenizer.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"

namespace trireme {

namespace {

using nlohmann::ordered_json;

constexpr int64_t kControl = 3, kUserDefined = 4, kUnused = 5;  // tokenizer.ggml.token_type

// How text is cut before merging, by the name that GGUF files give it (tokenizer.ggml.pre).
struct PreTokenizer {
  std::string_view name;
  bool single_digits = false;   // first every digit by itself
  const char* regex = nullptr;  // pieces; null: GPT-2's, which byte-level tokenizers have built in
  bool ignore_merges = false;   // a piece that is a token is not merged
  const char* normalizer = nullptr;
  bool adds_bos = false;
};

constexpr const char* kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr PreTokenizer kPreTokenizers[] = {
    {.name = "smollm", .single_digits = true},
    {.name = "gpt-2"},
    {.name = "llama-bpe", .regex = kLlama3Regex, .ignore_merges = true, .adds_bos = true},
    {.name = "qwen2", .regex = kQwen2Regex, .normalizer = "NFC"},
};

const PreTokenizer& pre_tokenizer(const Gguf& gguf) {
  const std::string& model = gguf.get<std::string>("tokenizer.ggml.model");
  if (model != "gpt2")
    fail(ExitCode::bad_data, "{}: tokenizer.ggml.model is {}; this version has gpt2 (byte-level BPE)", gguf.path(),
         model);
  const std::string& name = gguf.get<std::string>("tokenizer.ggml.pre");
  std::string known;
  for (const PreTokenizer& pre : kPreTokenizers) {
    if (pre.name == name) return pre;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", pre.name);
  }
  fail(ExitCode::bad_data, "{}: tokenizer.ggml.pre is {}; this version has {}", gguf.path(), name, known);
}

ordered_json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

ordered_json pre_tokenizer_json(const PreTokenizer& pre) {
  ordered_json steps = ordered_json::array();
  if (pre.single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (pre.regex)
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pre.regex}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back(byte_level(pre.regex == nullptr));
  if (steps.size() == 1) return steps[0];
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

// The file's token table, checked: as many types as tokens, no token twice.
class TokenTable {
 public:
  explicit TokenTable(const Gguf& gguf)
      : path_(gguf.path()),
        tokens_(gguf.get<std::vector<std::string>>("tokenizer.ggml.tokens")),
        types_(gguf.find<std::vector<int64_t>>("tokenizer.ggml.token_type")) {
    if (types_ && types_->size() != tokens_.size())
      fail(ExitCode::bad_data, "{}: tokenizer.ggml.token_type has {} entries, but there are {} tokens", path_,
           types_->size(), tokens_.size());
    std::unordered_set<std::string_view> seen;
    for (size_t id = 0; id < tokens_.size(); id++)
      if (type(id) != kUnused && !seen.insert(tokens_[id]).second)
        fail(ExitCode::bad_data, "{}: tokenizer.ggml.tokens has token {} twice (a copy is at {})", path_,
             quoted(tokens_[id]), id);
  }

  size_t size() const { return tokens_.size(); }
  int64_t type(size_t id) const { return types_ ? (*types_)[id] : 1; }
  const std::string& content(size_t id) const { return tokens_[id]; }

  std::string quoted(const std::string& text) const try {
    return ordered_json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(ExitCode::bad_data, "{}: a token or merge of the tokenizer is not UTF-8 ({})", path_,
         ordered_json(text).dump(-1, ' ', true, ordered_json::error_handler_t::replace));
  }

 private:
  const std::string& path_;
  const std::vector<std::string>& tokens_;
  const std::vector<int64_t>* types_;
};

std::string added_tokens(const TokenTable& table) {
  std::string text = "[";
  for (size_t id = 0; id < table.size(); id++) {
    if (table.type(id) != kControl && table.type(id) != kUserDefined) continue;
    text += fmt::format(
        "{}\n    {{\"id\": {}, \"content\": {}, \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
        "\"normalized\": false, \"special\": {}}}",
        text.size() > 1 ? "," : "", id, table.quoted(table.content(id)), table.type(id) == kControl);
  }
  return text + "\n  ]";
}

// By hand: an ordered object of 300,000 keys would take minutes in a general JSON library.
std::string vocabulary(const TokenTable& table) {
  std::string text = "{";
  for (size_t id = 0; id < table.size(); id++) {
    if (table.type(id) == kUnused) continue;
    text += fmt::format("{}\n      {}: {}", text.size() > 1 ? "," : "", table.quoted(table.content(id)), id);
  }
  return text + "\n    }";
}

std::string merge_list(const Gguf& gguf, const TokenTable& table) {
  std::string text = "[";
  const auto& merges = gguf.get<std::vector<std::string>>("tokenizer.ggml.merges");
  for (const std::string& merge : merges) {
    size_t space = merge.find(' ');
    if (space == 0 || space == std::string::npos || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string::npos)
      fail(ExitCode::bad_data, "{}: tokenizer.ggml.merges has {}, not two tokens and a space", gguf.path(),
           table.quoted(merge));
    text += fmt::format("{}\n      {}", text.size() > 1 ? "," : "", table.quoted(merge));
  }
  return text + "\n    ]";
}

}  // namespace

std::string gguf_tokenizer_json(const Gguf& gguf) {
  const PreTokenizer& pre = pre_tokenizer(gguf);
  TokenTable table(gguf);
  ordered_json normalizer = pre.normalizer ? ordered_json{{"type", pre.normalizer}} : ordered_json();
  ordered_json decoder = byte_level(true);
  return fmt::format(
      "{{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": {},\n"
      "  \"normalizer\": {},\n  \"pre_tokenizer\": {},\n  \"post_processor\": null,\n  \"decoder\": {},\n"
      "  \"model\": {{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
      "    \"byte_fallback\": false,\n    \"ignore_merges\": {},\n    \"vocab\": {},\n    \"merges\": {}\n  }}\n}}\n",
      added_tokens(table), normalizer.dump(), pre_tokenizer_json(pre).dump(), decoder.dump(), pre.ignore_merges,
      vocabulary(table), merge_list(gguf, table));
}

bool gguf_adds_bos(const Gguf& gguf) {
  const bool* stated = gguf.find<bool>("tokenizer.ggml.add_bos_token");
  return stated ? *stated : pre_tokenizer(gguf).adds_bos;
}

}  // namespace trireme
