#include "model/gguf_pre_tokenizer.h"

#include "base/error.h"

namespace trireme {
namespace {

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Tried in this order by nothing: names are unique. Llama 3's expression is also that of GPT-4, which OLMo 2, Granite 4
// and Phi-4 took over; digits one by one is StarCoder's, which Granite 3 took over.
const std::vector<GgufPreTokenizer>& known() {
  static const std::vector<GgufPreTokenizer> table = {
      // What llama.cpp does with a file whose tokenizer it was not told.
      {.name = "default",
       .expressions = {R"([\p{P}\$\+<=>\^~\|]+)",
                       R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))", R"(\p{N}+)",
                       R"([0-9][0-9][0-9])"}},
      {.name = "gpt-2", .gpt2 = true},
      {.name = "smollm", .single_digits = true, .gpt2 = true},
      {.name = "starcoder", .single_digits = true, .gpt2 = true},
      {.name = "refact", .single_digits = true, .gpt2 = true},
      {.name = "olmo", .gpt2 = true, .normalizer = "NFC"},
      {.name = "llama-bpe", .expressions = {kLlama3}, .ignore_merges = true, .adds_bos = true},
      {.name = "smaug-bpe", .expressions = {kLlama3}, .ignore_merges = true},
      {.name = "dbrx", .expressions = {kLlama3}},
      {.name = "qwen2", .expressions = {kQwen2}, .normalizer = "NFC"},
      {.name = "tekken", .expressions = {kTekken}, .ignore_merges = true, .adds_bos = true},
      {.name = "gpt-4o", .expressions = {kGpt4o}},
  };
  return table;
}

}  // namespace

const GgufPreTokenizer& gguf_pre_tokenizer(const Gguf& gguf) {
  const std::string& name = gguf.get<std::string>("tokenizer.ggml.pre");
  std::string names;
  for (const GgufPreTokenizer& pre : known()) {
    if (pre.name == name) return pre;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", pre.name);
  }
  fail(ExitCode::bad_data, "{}: tokenizer.ggml.pre is {}; this version has {}", gguf.path(), name, names);
}

}  // namespace trireme
