#include "model/gguf_token_table.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"

namespace trireme {

using nlohmann::ordered_json;

GgufTokenTable::GgufTokenTable(const Gguf& gguf)
    : path_(gguf.path()),
      tokens_(gguf.get<std::vector<std::string>>("tokenizer.ggml.tokens")),
      types_(gguf.find<std::vector<int64_t>>("tokenizer.ggml.token_type")) {
  if (types_ && types_->size() != tokens_.size())
    fail(ExitCode::bad_data, "{}: tokenizer.ggml.token_type has {} entries, but there are {} tokens", path_,
         types_->size(), tokens_.size());
  std::unordered_set<std::string_view> seen;
  for (size_t id = 0; id < tokens_.size(); id++)
    if (type(id) != Type::unused && !seen.insert(tokens_[id]).second)
      fail(ExitCode::bad_data, "{}: tokenizer.ggml.tokens has token {} twice (a copy is at {})", path_,
           quoted(tokens_[id]), id);
}

std::string GgufTokenTable::quoted(const std::string& text) const try {
  return ordered_json(text).dump();
} catch (const nlohmann::json::exception&) {
  fail(ExitCode::bad_data, "{}: a token or merge of the tokenizer is not UTF-8 ({})", path_,
       ordered_json(text).dump(-1, ' ', true, ordered_json::error_handler_t::replace));
}

std::string GgufTokenTable::added_tokens(bool unknown_is_special, bool strips_right) const {
  // Phi-3's own file has these without it; what GGUF files have lost is known to llama.cpp in the same way.
  constexpr std::string_view kPlain[] = {"<unk>", "<s>", "<|endoftext|>"};
  std::string text = "[";
  for (size_t id = 0; id < size(); id++) {
    const bool special = type(id) == Type::control || (type(id) == Type::unknown && unknown_is_special);
    if (!special && type(id) != Type::user_defined) continue;
    const bool plain = std::find(std::begin(kPlain), std::end(kPlain), content(id)) != std::end(kPlain);
    text += fmt::format(
        "{}\n    {{\"id\": {}, \"content\": {}, \"single_word\": false, \"lstrip\": false, \"rstrip\": {}, "
        "\"normalized\": false, \"special\": {}}}",
        text.size() > 1 ? "," : "", id, quoted(content(id)), strips_right && special && !plain, special);
  }
  return text + "\n  ]";
}

// By hand: an ordered object of 300,000 keys would take minutes in a general JSON library.
std::string GgufTokenTable::vocabulary(const std::vector<std::pair<std::string, size_t>>& more) const {
  std::string text = "{";
  const auto add = [&](const std::string& token, size_t id) {
    text += fmt::format("{}\n      {}: {}", text.size() > 1 ? "," : "", quoted(token), id);
  };
  for (size_t id = 0; id < size(); id++)
    if (type(id) != Type::unused) add(content(id), id);
  for (const auto& [token, id] : more) add(token, id);
  return text + "\n    }";
}

}  // namespace trireme
