#include "model/gguf_merges.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "base/error.h"

namespace trireme {
namespace {

constexpr size_t kMaxTokenBytes = 512;  // the work grows with the square; SentencePiece's longest have 16 characters

struct ScoredMerge {
  std::string_view left, right;
  double score;
  size_t left_characters, right_characters;
  size_t left_id, right_id;
};

size_t characters(std::string_view text) {
  const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), begins));
}

using Ids = std::unordered_map<std::string_view, size_t>;

// All merges that make `token`, by the ids of their parts.
void add_merges_of(std::string_view token, double score, const Ids& ids, std::vector<ScoredMerge>& merges) {
  const size_t before = merges.size();
  for (size_t cut = 1; cut < token.size(); cut++) {
    if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;  // inside a character
    const std::string_view left = token.substr(0, cut), right = token.substr(cut);
    const auto left_id = ids.find(left);
    if (left_id == ids.end()) continue;
    const auto right_id = ids.find(right);
    if (right_id == ids.end()) continue;
    merges.push_back({left, right, score, characters(left), characters(right), left_id->second, right_id->second});
  }
  std::sort(merges.begin() + static_cast<std::ptrdiff_t>(before), merges.end(), [](const auto& a, const auto& b) {
    return std::pair(a.left_id, a.right_id) < std::pair(b.left_id, b.right_id);
  });
}

}  // namespace

std::string stated_merges(const Gguf& gguf, const GgufTokenTable& table) {
  std::string text = "[";
  for (const std::string& merge : gguf.get<std::vector<std::string>>("tokenizer.ggml.merges")) {
    size_t space = merge.find(' ');
    if (space == 0 || space == std::string::npos || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string::npos)
      fail(ExitCode::bad_data, "{}: tokenizer.ggml.merges has {}, not two tokens and a space", gguf.path(),
           table.quoted(merge));
    text += fmt::format("{}\n      {}", text.size() > 1 ? "," : "", table.quoted(merge));
  }
  return text + "\n    ]";
}

std::string merges_by_score(const Gguf& gguf, const GgufTokenTable& table,
                            const std::vector<std::pair<std::string, size_t>>& more) {
  const auto& scores = gguf.get<std::vector<double>>("tokenizer.ggml.scores");
  if (scores.size() != table.size())
    fail(ExitCode::bad_data, "{}: tokenizer.ggml.scores has {} entries, but there are {} tokens", gguf.path(),
         scores.size(), table.size());
  Ids ids;
  for (size_t id = 0; id < table.size(); id++)
    if (table.type(id) != GgufTokenTable::Type::unused) ids.emplace(table.content(id), id);
  for (const auto& [token, id] : more) ids.emplace(token, id);
  std::vector<ScoredMerge> merges;
  for (size_t id = 0; id < table.size(); id++) {
    const std::string& token = table.content(id);
    if (table.type(id) == GgufTokenTable::Type::unused) continue;
    if (token.size() > kMaxTokenBytes)
      fail(ExitCode::bad_data, "{}: tokenizer.ggml.tokens[{}] has {} bytes, expected at most {}", gguf.path(), id,
           token.size(), kMaxTokenBytes);
    if (!std::isfinite(scores[id]))
      fail(ExitCode::bad_data, "{}: tokenizer.ggml.scores[{}] is not a finite number", gguf.path(), id);
    add_merges_of(token, scores[id], ids, merges);
  }
  std::stable_sort(merges.begin(), merges.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tuple(a.score, a.left_characters, a.right_characters) >
           std::tuple(b.score, b.left_characters, b.right_characters);
  });
  std::string text = "[";
  for (const ScoredMerge& merge : merges)
    text += fmt::format("{}\n      [{}, {}]", text.size() > 1 ? "," : "", table.quoted(std::string(merge.left)),
                        table.quoted(std::string(merge.right)));
  return text + "\n    ]";
}

}  // namespace trireme
