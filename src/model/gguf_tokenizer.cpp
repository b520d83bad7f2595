#include "model/gguf_tokenizer.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/gguf_merges.h"
#include "model/gguf_pre_tokenizer.h"
#include "model/gguf_token_table.h"

namespace trireme {

namespace {

using nlohmann::ordered_json;

constexpr const char* kBlank = "\u2581";  // how SentencePiece writes one

// What stands around the tables.
struct Pipeline {
  ordered_json normalizer, pre_tokenizer, decoder;
  ordered_json unknown;  // its text, or null
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

bool is_sentencepiece(const Gguf& gguf) {
  const std::string& model = gguf.get<std::string>("tokenizer.ggml.model");
  if (model != "gpt2" && model != "llama")
    fail(ExitCode::bad_data,
         "{}: tokenizer.ggml.model is {}; this version has gpt2 (byte-level BPE) and llama (SentencePiece BPE)",
         gguf.path(), model);
  return model == "llama";
}

ordered_json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

ordered_json pre_tokenizer_json(const GgufPreTokenizer& pre) {
  ordered_json steps = ordered_json::array();
  if (pre.single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  for (std::string_view expression : pre.expressions)
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back(byte_level(pre.gpt2));
  if (steps.size() == 1) return steps[0];
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

Pipeline byte_level_pipeline(const GgufPreTokenizer& pre) {
  Pipeline pipeline;
  if (!pre.normalizer.empty()) pipeline.normalizer = {{"type", pre.normalizer}};
  pipeline.pre_tokenizer = pre_tokenizer_json(pre);
  pipeline.decoder = byte_level(true);
  pipeline.ignore_merges = pre.ignore_merges;
  return pipeline;
}

Pipeline sentencepiece_pipeline(const Gguf& gguf, const GgufTokenTable& table) {
  const bool* stated = gguf.find<bool>("tokenizer.ggml.add_space_prefix");
  const bool prefixes = !stated || *stated;
  Pipeline pipeline;
  ordered_json blanks = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlank}};
  ordered_json steps = ordered_json::array();
  if (prefixes) steps.push_back({{"type", "Prepend"}, {"prepend", kBlank}});
  steps.push_back(blanks);
  pipeline.normalizer = {{"type", "Sequence"}, {"normalizers", steps}};
  steps = ordered_json::array({{{"type", "Replace"}, {"pattern", {{"String", kBlank}}}, {"content", " "}},
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}}});
  if (prefixes) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  pipeline.decoder = {{"type", "Sequence"}, {"decoders", steps}};
  const int64_t* unknown = gguf.find<int64_t>("tokenizer.ggml.unknown_token_id");
  const int64_t id = unknown ? *unknown : 0;
  if (id < 0 || static_cast<size_t>(id) >= table.size())
    fail(ExitCode::bad_data, "{}: tokenizer.ggml.unknown_token_id is {}, but there are {} tokens", gguf.path(), id,
         table.size());
  pipeline.unknown = table.content(static_cast<size_t>(id));
  pipeline.fuse_unknown = pipeline.byte_fallback = true;
  return pipeline;
}

// SentencePiece merges tabs that it has as byte 9 only; a merge needs a token that is written as a tab.
std::vector<std::pair<std::string, size_t>> missing_tab(const GgufTokenTable& table) {
  size_t byte = table.size();
  bool used = false;
  for (size_t id = 0; id < table.size(); id++) {
    if (table.content(id) == "\t") return {};
    if (table.content(id) == "<0x09>") byte = id;
    used = used || table.content(id).find('\t') != std::string::npos;
  }
  if (!used || byte == table.size()) return {};
  return {{"\t", byte}};
}

}  // namespace

std::string gguf_tokenizer_json(const Gguf& gguf) {
  const bool sentencepiece = is_sentencepiece(gguf);
  const GgufTokenTable table(gguf);
  const Pipeline p =
      sentencepiece ? sentencepiece_pipeline(gguf, table) : byte_level_pipeline(gguf_pre_tokenizer(gguf));
  const std::string* architecture = gguf.find<std::string>("general.architecture");
  const bool is_phi3 = sentencepiece && architecture && *architecture == "phi3";
  const auto tab = sentencepiece ? missing_tab(table) : std::vector<std::pair<std::string, size_t>>{};
  return fmt::format(
      "{{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": {},\n"
      "  \"normalizer\": {},\n  \"pre_tokenizer\": {},\n  \"post_processor\": null,\n  \"decoder\": {},\n"
      "  \"model\": {{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": {},\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": {},\n"
      "    \"byte_fallback\": {},\n    \"ignore_merges\": {},\n    \"vocab\": {},\n    \"merges\": {}\n  }}\n}}\n",
      table.added_tokens(sentencepiece, is_phi3), p.normalizer.dump(), p.pre_tokenizer.dump(), p.decoder.dump(),
      p.unknown.dump(), p.fuse_unknown, p.byte_fallback, p.ignore_merges, table.vocabulary(tab),
      sentencepiece ? merges_by_score(gguf, table, tab) : stated_merges(gguf, table));
}

bool gguf_adds_bos(const Gguf& gguf) {
  const bool* stated = gguf.find<bool>("tokenizer.ggml.add_bos_token");
  if (stated) return *stated;
  return is_sentencepiece(gguf) || gguf_pre_tokenizer(gguf).adds_bos;
}

}  // namespace trireme
