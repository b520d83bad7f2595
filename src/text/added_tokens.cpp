#include "text/added_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/unicode.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr size_t max_content_bytes = 1024;  // bounds the work per byte of a text
constexpr size_t max_tokens = 1 << 20;
constexpr size_t max_total_bytes = 4 << 20;  // Gemma's 6,000 have less than 100 KB

bool word_ends_at(std::string_view text, size_t end) {
  if (end == 0) return false;
  size_t start = code_point_start(text, end);
  return is_word_character(next_code_point(text, start));
}

bool word_begins_at(std::string_view text, size_t begin) {
  return begin < text.size() && is_word_character(next_code_point(text, begin));
}

size_t skip_blanks_back(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t start = code_point_start(text, end);
    size_t position = start;
    if (!is_white_space(next_code_point(text, position))) break;
    end = start;
  }
  return end;
}

size_t skip_blanks(std::string_view text, size_t begin) {
  for (size_t position = begin; position < text.size(); begin = position)
    if (!is_white_space(next_code_point(text, position))) break;
  return begin;
}

}  // namespace

AddedTokens::AddedTokens(const JsonField& field, const Normalizer& normalizer, Vocabulary& vocabulary) {
  if (field.is_null()) return;
  if (field.array().size() > max_tokens) field.damaged("too long", fmt::format("at most {} tokens", max_tokens));
  size_t total = 0;
  for (const JsonField& element : field.elements()) {
    AddedToken token = read(element, vocabulary);
    if (token.content.empty()) continue;
    const std::string text = token.normalized ? normalizer.normalize(token.content) : token.content;
    if ((total += text.size()) > max_total_bytes)
      element.damaged("one too many", fmt::format("at most {} bytes of added tokens", max_total_bytes));
    if (!text.empty()) {  // a normalizer may leave nothing of it
      texts_[token.normalized].trie.add(text, static_cast<int32_t>(tokens_.size()));
      texts_[token.normalized].first_bytes[static_cast<uint8_t>(text[0])] = true;
    }
    tokens_.push_back(std::move(token));
  }
}

std::vector<int32_t> AddedTokens::special_ids() const {
  std::vector<int32_t> ids;
  for (const AddedToken& token : tokens_)
    if (token.special) ids.push_back(token.id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

AddedToken AddedTokens::read(const JsonField& field, Vocabulary& vocabulary) {
  AddedToken token;
  token.content = field["content"].text();
  token.id = static_cast<int32_t>(field["id"].integer(0, Vocabulary::max_id));
  if (token.content.size() > max_content_bytes)
    field["content"].damaged(fmt::format("{} bytes long", token.content.size()),
                             fmt::format("at most {}", max_content_bytes));
  token.special = field["special"].flag_or(false);
  token.single_word = field["single_word"].flag_or(false);
  token.lstrip = field["lstrip"].flag_or(false);
  token.rstrip = field["rstrip"].flag_or(false);
  token.normalized = field["normalized"].flag_or(!token.special);
  if (!token.content.empty()) vocabulary.add(token.content, token.id, field);
  return token;
}

bool AddedTokens::counts(const AddedToken& token, const MarkedText& source, size_t begin, size_t end) const {
  if (token.special && source.origin(begin, end) != MarkedText::Origin::trusted) return false;
  return !token.single_word || (!word_ends_at(source.text, begin) && !word_begins_at(source.text, end));
}

AddedTokens::Match AddedTokens::longest(const ByteTrie& trie, const MarkedText& source, size_t begin) const {
  Match best{-1, begin};
  int32_t node = ByteTrie::root;
  for (size_t end = begin; end < source.text.size();) {
    node = trie.child(node, static_cast<uint8_t>(source.text[end++]));
    if (node < 0) break;
    const int32_t token = trie.value(node);
    // Text that ends in an untrusted piece may not hide a special token that a trusted piece goes on to write.
    const auto hides = [&] { return tokens_[token].special && source.origin(begin, end) == MarkedText::Origin::mixed; };
    if (token >= 0 && !hides()) best = {token, end};
  }
  return best;
}

void AddedTokens::split(const MarkedText& source, Stage stage, const TextSink& text, const TokenSink& token) const {
  const auto& [trie, first_bytes] = texts_[stage == Stage::normalized];
  size_t done = 0;
  for (size_t position = 0; position < source.text.size();) {
    if (!first_bytes[static_cast<uint8_t>(source.text[position])]) {
      ++position;
      continue;
    }
    const Match match = longest(trie, source, position);
    if (match.token < 0) {
      ++position;
      continue;
    }
    const AddedToken& found = tokens_[match.token];
    if (counts(found, source, position, match.end)) {
      const size_t begin = found.lstrip ? std::max(skip_blanks_back(source.text, position), done) : position;
      if (done < begin) text(done, begin);
      token(found.id);
      done = found.rstrip ? skip_blanks(source.text, match.end) : match.end;
    }
    position = match.end;
  }
  if (done < source.text.size()) text(done, source.text.size());
}

}  // namespace trireme
