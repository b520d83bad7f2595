#include "text/pre_tokenizer.h"

#include <fmt/core.h>

#include <map>
#include <nlohmann/json.hpp>

#include "text/unicode.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr size_t max_stages = 64;
constexpr int max_depth = 16;  // of a Sequence in a Sequence

// Radford et al., 2019 (GPT-2's encoder.py).
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Cuts text at each character that counts: sink(begin, end, is_match).
template <typename Predicate, typename Sink>
void match_characters(std::string_view text, const Predicate& counts, const Sink& sink) {
  size_t gap = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    if (!counts(next_code_point(text, position))) continue;
    if (gap < begin) sink(gap, begin, false);
    sink(begin, position, true);
    gap = position;
  }
  if (gap < text.size()) sink(gap, text.size(), false);
}

// Runs of word characters and runs of signs are matches; white space between them is not.
template <typename Sink>
void match_words(std::string_view text, const Sink& sink) {
  const auto kind_of = [](char32_t c) { return is_word_character(c) ? 1 : is_white_space(c) ? 0 : 2; };
  size_t begin = 0;
  int kind = -1;
  for (size_t position = 0; position < text.size();) {
    const size_t at = position;
    const int next = kind_of(next_code_point(text, position));
    if (kind >= 0 && next != kind) sink(begin, at, kind != 0), begin = at;
    kind = next;
  }
  if (begin < text.size()) sink(begin, text.size(), kind != 0);
}

void replace_blanks(std::string& text, std::string_view replacement) {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  for (const char c : text)
    if (c == ' ')
      out += replacement;
    else
      out += c;
  text = std::move(out);
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonField& field) {
  if (!field.is_null()) add_stages(field, 0);
}

void PreTokenizer::add(Stage::Kind kind, Behavior behavior) {
  stages_.emplace_back();
  stages_.back().kind = kind;
  stages_.back().behavior = behavior;
}

void PreTokenizer::add_stages(const JsonField& field, int depth) {
  using Kind = Stage::Kind;
  const std::string& type = field["type"].text();
  if (byte_level_) field.unsupported("a stage after ByteLevel", "ByteLevel as the last stage");
  if (depth > max_depth || stages_.size() >= max_stages)
    field.damaged("one of too many stages", fmt::format("at most {}, nested at most {} deep", max_stages, max_depth));
  if (type == "Sequence") {
    for (const JsonField& stage : field["pretokenizers"].elements()) add_stages(stage, depth + 1);
  } else if (type == "ByteLevel") {
    add_byte_level(field);
  } else if (type == "Digits") {
    const bool individual = field["individual_digits"].flag_or(false);
    add(Kind::digits, individual ? Behavior::isolated : Behavior::contiguous);
  } else if (type == "Split") {
    add_split(field);
  } else if (type == "Metaspace") {
    add(Kind::metaspace, Behavior::merged_with_next);
    stages_.back().metaspace.emplace(field);
  } else if (type == "Whitespace") {
    add(Kind::words, Behavior::removed);
  } else if (type == "WhitespaceSplit") {
    add(Kind::white_space, Behavior::removed);
  } else if (type == "BertPreTokenizer") {
    add(Kind::white_space, Behavior::removed);
    add(Kind::punctuation, Behavior::isolated);
  } else if (type == "Punctuation") {
    add(Kind::punctuation, behavior_of(field["behavior"], "Isolated"));
  } else if (type == "CharDelimiterSplit") {
    add(Kind::pattern, Behavior::removed);
    const nlohmann::json literal = {{"String", field["delimiter"].text()}};
    stages_.back().pattern.emplace(JsonField(literal, field.path()));
  } else {
    field["type"].unsupported(type,
                              "ByteLevel, Digits, Split, Metaspace, Whitespace, WhitespaceSplit, BertPreTokenizer, "
                              "Punctuation, CharDelimiterSplit, Sequence");
  }
}

void PreTokenizer::add_byte_level(const JsonField& field) {
  byte_level_ = true;
  if (field["add_prefix_space"].flag_or(true)) add(Stage::Kind::prefix_space, Behavior::isolated);
  if (!field["use_regex"].flag_or(true)) return;
  add(Stage::Kind::pattern, Behavior::isolated);
  stages_.back().pattern.emplace(gpt2_pattern, field.path());
}

PreTokenizer::Behavior PreTokenizer::behavior_of(const JsonField& field, std::string_view absent) {
  static const std::map<std::string, Behavior> behaviors = {{"Removed", Behavior::removed},
                                                            {"Isolated", Behavior::isolated},
                                                            {"MergedWithPrevious", Behavior::merged_with_previous},
                                                            {"MergedWithNext", Behavior::merged_with_next},
                                                            {"Contiguous", Behavior::contiguous}};
  const std::string name = absent.empty() ? field.text() : field.text_or(absent);
  const auto found = behaviors.find(name);
  if (found == behaviors.end())
    field.damaged(name, "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  return found->second;
}

void PreTokenizer::add_split(const JsonField& field) {
  add(Stage::Kind::pattern, behavior_of(field["behavior"], ""));
  stages_.back().invert = field["invert"].flag_or(false);
  stages_.back().pattern.emplace(field["pattern"]);
}

template <typename Sink>
void PreTokenizer::each_match(const Stage& stage, std::string_view text, Scratch& scratch, const Sink& sink) {
  switch (stage.kind) {
    case Stage::Kind::digits:
      return match_characters(text, is_numeric, sink);
    case Stage::Kind::white_space:
      return match_characters(text, is_white_space, sink);
    case Stage::Kind::punctuation:
      return match_characters(text, is_punctuation, sink);
    case Stage::Kind::words:  // the words stay, so what is removed is what lies between
      return match_words(text, [&](size_t begin, size_t end, bool is_word) { sink(begin, end, !is_word); });
    case Stage::Kind::metaspace:
      return match_characters(
          text,
          [mark =
               [&] {
                 size_t position = 0;
                 return next_code_point(stage.metaspace->replacement, position);
               }()](char32_t c) { return c == mark; },
          sink);
    default:
      return stage.pattern->each(text, scratch.regex, sink);
  }
}

// The text as a stage that adds or replaces characters makes it.
std::string_view PreTokenizer::changed(const Stage& stage, std::string_view text, bool begins_text,
                                       Scratch& scratch) const {
  if (stage.kind == Stage::Kind::prefix_space)
    return text.starts_with(' ') ? text : scratch.kept.emplace_back(" " + std::string(text));
  const Metaspace& metaspace = *stage.metaspace;
  const bool wants = metaspace.prepend == Metaspace::Prepend::always ||
                     (metaspace.prepend == Metaspace::Prepend::first && begins_text);
  const bool has = text.starts_with(' ') || text.starts_with(metaspace.replacement);
  std::string& kept = scratch.kept.emplace_back(text);
  replace_blanks(kept, metaspace.replacement);
  if (wants && !has) kept.insert(0, metaspace.replacement);
  return kept;
}

void PreTokenizer::run(size_t index, std::string_view text, bool begins_text, Scratch& scratch,
                       const WordSink& word) const {
  if (text.empty()) return;
  if (index == stages_.size()) return word(text);
  const Stage& stage = stages_[index];
  const bool changes = stage.kind == Stage::Kind::prefix_space || stage.kind == Stage::Kind::metaspace;
  if (changes) text = changed(stage, text, begins_text, scratch);
  if (stage.kind == Stage::Kind::prefix_space || (changes && !stage.metaspace->split))
    return run(index + 1, text, begins_text, scratch, word);

  // Neighbours are joined or not by what they are; a joined piece goes on when the next does not join it.
  struct Piece {
    size_t begin, end;
    bool is_match;  // of its last part
  };
  std::optional<Piece> pending;
  const auto joins = [&](bool previous, bool current) {
    switch (stage.behavior) {
      case Behavior::contiguous:
        return previous == current;
      case Behavior::merged_with_previous:
        return current && !previous;
      case Behavior::merged_with_next:
        return previous && !current;
      default:
        return false;
    }
  };
  const auto flush = [&] {
    if (pending)
      run(index + 1, text.substr(pending->begin, pending->end - pending->begin), begins_text && pending->begin == 0,
          scratch, word);
    pending.reset();
  };
  const auto add = [&](size_t begin, size_t end, bool matched) {
    const bool is_match = matched != stage.invert;
    if (pending && joins(pending->is_match, is_match)) {
      pending->end = end;
      pending->is_match = is_match;
      return;
    }
    flush();
    if (!is_match || stage.behavior != Behavior::removed) pending = Piece{begin, end, is_match};
  };
  each_match(stage, text, scratch, add);
  flush();
}

}  // namespace trireme
