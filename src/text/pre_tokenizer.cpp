#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "text/unicode.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr size_t max_stages = 64;

// Radford et al., 2019 (GPT-2's encoder.py).
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A literal text as a regular expression.
std::string quote(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view(R"(\^$.[]|()?*+{}#-&)").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

// Cuts text at each numeric character: sink(begin, end, is_match).
template <typename Sink>
void match_digits(std::string_view text, const Sink& sink) {
  size_t gap = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    if (!is_numeric(next_code_point(text, position))) continue;
    if (gap < begin) sink(gap, begin, false);
    sink(begin, position, true);
    gap = position;
  }
  if (gap < text.size()) sink(gap, text.size(), false);
}

// Cuts text at each match: sink(begin, end, is_match). An empty match right after another does not count.
template <typename Sink>
void match_regex(const Regex& regex, std::string_view text, Regex::Scratch& scratch, const Sink& sink) {
  size_t gap = 0;
  std::optional<size_t> last_end;
  for (size_t from = 0; from <= text.size();) {
    const auto match = regex.find(text, from, scratch);
    if (!match) break;
    if (match->begin == match->end && last_end == match->end) {
      if (from == text.size()) break;
      next_code_point(text, from);
      continue;
    }
    if (gap < match->begin) sink(gap, match->begin, false);
    sink(match->begin, match->end, true);
    from = gap = match->end;
    last_end = match->end;
  }
  if (gap < text.size()) sink(gap, text.size(), false);
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonField& field) {
  add_stages(field);
  if (!byte_level_) field.unsupported("one without ByteLevel", "ByteLevel as the last or only stage");
}

void PreTokenizer::add_stages(const JsonField& field) {
  const std::string type = field["type"].text_or("none");
  if (byte_level_) field.unsupported("a stage after ByteLevel", "ByteLevel as the last stage");
  if (stages_.size() >= max_stages) field.damaged("one of too many stages", fmt::format("at most {}", max_stages));
  if (type == "Sequence") {
    for (const JsonField& stage : field["pretokenizers"].elements()) {
      if (stage["type"].text_or("") == "Sequence") stage.unsupported("Sequence", "a flat Sequence");
      add_stages(stage);
    }
  } else if (type == "ByteLevel") {
    add_byte_level(field);
  } else if (type == "Digits") {
    const bool individual = field["individual_digits"].flag_or(false);
    stages_.push_back({Stage::Kind::digits, individual ? Behavior::isolated : Behavior::contiguous, false, {}});
  } else if (type == "Split") {
    add_split(field);
  } else {
    field["type"].unsupported(type, "ByteLevel, Digits, Split, Sequence");
  }
}

void PreTokenizer::add_byte_level(const JsonField& field) {
  byte_level_ = true;
  if (field["add_prefix_space"].flag_or(true))
    stages_.push_back({Stage::Kind::prefix_space, Behavior::isolated, false, {}});
  if (!field["use_regex"].flag_or(true)) return;
  stages_.push_back({Stage::Kind::pattern, Behavior::isolated, false, {}});
  stages_.back().regex.emplace_back(gpt2_pattern, field.path());
}

void PreTokenizer::add_split(const JsonField& field) {
  static const std::map<std::string, Behavior> behaviors = {{"Removed", Behavior::removed},
                                                            {"Isolated", Behavior::isolated},
                                                            {"MergedWithPrevious", Behavior::merged_with_previous},
                                                            {"MergedWithNext", Behavior::merged_with_next},
                                                            {"Contiguous", Behavior::contiguous}};
  const JsonField behavior = field["behavior"];
  const auto found = behaviors.find(behavior.text());
  if (found == behaviors.end())
    behavior.damaged(behavior.text(), "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  const JsonField pattern = field["pattern"];
  const JsonField literal = pattern["String"];
  const std::string source = literal.is_null() ? pattern["Regex"].text() : quote(literal.text());
  stages_.push_back({Stage::Kind::pattern, found->second, field["invert"].flag_or(false), {}});
  stages_.back().regex.emplace_back(source, field.path());
}

void PreTokenizer::run(size_t index, std::string_view text, Scratch& scratch, const WordSink& word) const {
  if (text.empty()) return;
  if (index == stages_.size()) return word(text);
  const Stage& stage = stages_[index];
  if (stage.kind == Stage::Kind::prefix_space) {
    if (!text.starts_with(' ')) text = scratch.kept.emplace_back(" " + std::string(text));
    return run(index + 1, text, scratch, word);
  }

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
    if (pending) run(index + 1, text.substr(pending->begin, pending->end - pending->begin), scratch, word);
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
  if (stage.kind == Stage::Kind::digits)
    match_digits(text, add);
  else
    match_regex(stage.regex[0], text, scratch.regex, add);
  flush();
}

}  // namespace trireme
