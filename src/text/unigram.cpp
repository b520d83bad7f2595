#include "text/unigram.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr size_t most_shown = 40;         // bytes of a text in a message
constexpr double unknown_penalty = 10.0;  // SentencePiece's, below the lowest score

}  // namespace

Unigram::Unigram(const JsonField& model, const Vocabulary& vocabulary, bool byte_level,
                 const std::vector<int32_t>& hidden)
    : byte_level_(byte_level) {
  double lowest = std::numeric_limits<double>::infinity();
  for (const JsonField& token : model["vocab"].elements()) {
    const JsonField score(token.array()[1], token.path() + "[1]");
    scores_.push_back(score.number());
    lowest = std::min(lowest, scores_.back());
    const auto id = static_cast<int32_t>(scores_.size() - 1);
    const std::string& text = token.array()[0].get_ref<const std::string&>();
    if (!text.empty() && !std::binary_search(hidden.begin(), hidden.end(), id)) tokens_.add(text, id);
  }
  unknown_score_ = lowest - unknown_penalty;
  if (const JsonField unknown = model["unk_id"]; !unknown.is_null())
    unknown_id_ = static_cast<int32_t>(unknown.integer(0, static_cast<int64_t>(scores_.size()) - 1));
  const bool falls_back = model["byte_fallback"].flag_or(false);
  for (int byte = 0; byte < 256; ++byte)
    fallback_[byte] = falls_back ? vocabulary.find_in_model(fmt::format("<0x{:02X}>", byte)) : -1;
}

void Unigram::find_paths(std::string_view word, std::vector<ModelScratch::Path>& paths) const {
  paths.assign(word.size() + 1, {0, -1, -1});
  const auto offer = [&](size_t begin, size_t end, int32_t id, double score) {
    ModelScratch::Path& path = paths[end];
    if (path.begin < 0 || score > path.score) path = {score, id, static_cast<int32_t>(begin)};
  };
  for (size_t begin = 0, next = 0; begin < word.size(); begin = next) {
    next_code_point(word, next);
    const double score = paths[begin].score;
    bool has_character = false;
    int32_t node = ByteTrie::root;
    for (size_t end = begin; end < word.size();) {
      node = tokens_.child(node, static_cast<uint8_t>(word[end++]));
      if (node < 0) break;
      const int32_t id = tokens_.value(node);
      if (id < 0) continue;
      offer(begin, end, id, score + scores_[static_cast<size_t>(id)]);
      has_character = has_character || end == next;
    }
    if (!has_character) offer(begin, next, -1, score + unknown_score_);
  }
}

void Unigram::add_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  const auto id_of = [&](char byte) { return fallback_[static_cast<unsigned char>(byte)]; };
  if (std::all_of(text.begin(), text.end(), [&](char byte) { return id_of(byte) >= 0; })) {
    for (const char byte : text) ids.push_back(id_of(byte));
    return;
  }
  if (unknown_id_ < 0)
    fail(ExitCode::bad_data,
         "tokenizer.json has no token for '{}' and no model.unk_id for what it does not know; remove it from the text",
         text.substr(0, most_shown));
  ids.push_back(unknown_id_);
}

void Unigram::encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const {
  const std::string letters = byte_level_ ? to_byte_alphabet(word) : std::string();
  if (byte_level_) word = letters;
  auto& paths = scratch.paths;
  find_paths(word, paths);
  // Backwards; what is then read forwards begins where the last one ended.
  std::vector<size_t> ends;
  for (size_t end = word.size(); end > 0; end = static_cast<size_t>(paths[end].begin)) ends.push_back(end);
  size_t unknown = 0, done = 0;  // [unknown, done) has no token: neighbours without one are one
  const auto flush = [&] {
    if (unknown < done) add_unknown(word.substr(unknown, done - unknown), ids);
  };
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
    const int32_t id = paths[*end].id;
    if (id >= 0) {
      flush();
      ids.push_back(id);
      unknown = *end;
    }
    done = *end;
  }
  flush();
}

}  // namespace trireme
