#include "text/jinja_lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace trireme {
namespace {

using Kind = JinjaToken::Kind;

constexpr size_t max_source_bytes = 1 << 20;
constexpr std::string_view blanks = " \t\n\r\v\f";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

std::string_view without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    size_t start = code_point_start(text, text.size());
    const size_t cut = start;
    if (!is_python_space(next_code_point(text, start))) break;
    text = text.substr(0, cut);
  }
  return text;
}

// Every kind of line end as \n, and one at the very end left out.
std::string with_plain_newlines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<JinjaToken> lex() {
    while (position_ < source_.size()) lex_data();
    add(Kind::end, "", position_);
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(position_); }
  bool next_is(std::string_view text) const { return rest().starts_with(text); }

  JinjaPlace place(size_t position) {
    for (; counted_ < position; ++counted_) {
      ++place_.column;
      if (source_[counted_] == '\n') place_ = {place_.line + 1, 1};
    }
    return place_;
  }
  [[noreturn]] void fail_here(std::string_view what) { fail_jinja(place(position_), what); }

  void add(Kind kind, std::string text, size_t begin) { tokens_.push_back({kind, std::move(text), place(begin)}); }

  // Text up to the next tag, then the tag.
  void lex_data() {
    const size_t begin = position_;
    size_t tag = source_.find('{', begin);
    while (tag != std::string::npos &&
           (tag + 1 == source_.size() || std::string_view("{%#").find(source_[tag + 1]) == std::string_view::npos))
      tag = source_.find('{', tag + 1);
    if (tag == std::string::npos) {
      add(Kind::data, source_.substr(begin), begin);
      position_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    position_ = tag + 2;
    add_data(begin, tag, kind == '{');
    if (next_is("-") || next_is("+")) ++position_;
    if (kind == '#') return skip_comment();
    if (kind == '%' && lex_raw()) return;
    add(kind == '{' ? Kind::output_begin : Kind::block_begin, "", tag);
    lex_inside(kind == '{');
  }

  // The text before a tag, shortened as the sign after the tag's first two bytes wants.
  void add_data(size_t begin, size_t end, bool before_output) {
    std::string_view text = std::string_view(source_).substr(begin, end - begin);
    if (next_is("-")) {
      text = without_trailing_space(text);
    } else if (!next_is("+") && !before_output) {
      const size_t line = text.rfind('\n') + 1;  // 0 when there is none
      if ((line > 0 || at_line_start_) && without_trailing_space(text.substr(line)).empty())
        text = text.substr(0, line);
    }
    if (!text.empty()) add(Kind::data, std::string(text), begin);
  }

  void skip_space() {
    while (position_ < source_.size()) {
      size_t next = position_;
      if (!is_python_space(next_code_point(source_, next))) break;
      position_ = next;
    }
  }

  // The end of a tag, if it stands here: with + nothing follows it, with - all space does, else (trims) one line end.
  bool take_end(std::string_view end, bool trims) {
    if (next_is(end)) {
      position_ += end.size();
      if (trims && next_is("\n")) ++position_;
    } else if (next_is("-") && rest().substr(1).starts_with(end)) {
      position_ += 1 + end.size();
      skip_space();
    } else if (trims && next_is("+") && rest().substr(1).starts_with(end)) {
      position_ += 1 + end.size();
    } else {
      return false;
    }
    at_line_start_ = source_[position_ - 1] == '\n';
    return true;
  }

  void skip_comment() {
    const size_t begin = position_;
    while (position_ < source_.size()) {
      if (take_end("#}", true)) return;
      ++position_;
    }
    position_ = begin;
    fail_here("a comment has no end");
  }

  // `raw` or `endraw` after the tag's beginning, up to its end.
  bool take_word_and_end(std::string_view word, bool trims) {
    const size_t begin = position_;
    skip_space();
    if (next_is(word)) {
      position_ += word.size();
      skip_space();
      if (take_end("%}", trims)) return true;
    }
    position_ = begin;
    return false;
  }

  bool lex_raw() {
    if (!take_word_and_end("raw", false)) return false;
    // take_end() took + or a line end for none of ours: raw keeps what follows it.
    const size_t begin = position_;
    for (size_t tag = source_.find("{%", begin); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      const size_t after = tag + 2;
      position_ = after;
      const bool line_start = at_line_start_;
      if (next_is("-") || next_is("+")) ++position_;
      if (!take_word_and_end("endraw", true)) continue;
      const size_t end = position_;
      const bool next_line_start = at_line_start_;
      position_ = after;
      at_line_start_ = line_start;
      add_data(begin, tag, false);
      position_ = end;
      at_line_start_ = next_line_start;
      return true;
    }
    position_ = begin;
    fail_here("a raw block has no end");
  }

  void lex_inside(bool output) {
    std::string open;  // brackets that wait for their end
    while (position_ < source_.size()) {
      const size_t begin = position_;
      if (open.empty() && take_end(output ? "}}" : "%}", !output))
        return add(output ? Kind::output_end : Kind::block_end, "", begin);
      const char c = source_[position_];
      if (blanks.find(c) != std::string_view::npos) {
        ++position_;
      } else if (is_digit(c)) {
        lex_number();
      } else if (is_name_start(c)) {
        while (position_ < source_.size() && (is_name_start(source_[position_]) || is_digit(source_[position_])))
          ++position_;
        add(Kind::name, source_.substr(begin, position_ - begin), begin);
      } else if (c == '\'' || c == '"') {
        lex_text(c);
      } else {
        lex_symbol(open);
      }
    }
    fail_here("a tag has no end");
  }

  void lex_number() {
    const size_t begin = position_;
    const auto digits = [&] {
      while (position_ < source_.size() && (is_digit(source_[position_]) || source_[position_] == '_')) ++position_;
    };
    const auto digit_at = [&](size_t offset) {
      return position_ + offset < source_.size() && is_digit(source_[position_ + offset]);
    };
    digits();
    bool real = false;
    const bool after_dot = begin > 0 && source_[begin - 1] == '.';  // a.0.1 are two items
    if (!after_dot && next_is(".") && digit_at(1)) {
      real = true;
      ++position_;
      digits();
    }
    if (!after_dot && (next_is("e") || next_is("E"))) {
      const size_t sign =
          position_ + 1 < source_.size() && (source_[position_ + 1] == '-' || source_[position_ + 1] == '+');
      if (digit_at(1 + sign)) {
        real = true;
        position_ += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(begin, position_ - begin);
    std::erase(text, '_');
    if (!real && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos)
      fail_here("an integer begins with 0");
    add(real ? Kind::real : Kind::integer, std::move(text), begin);
  }

  void lex_text(char quote) {
    const size_t begin = position_++;
    std::string text;
    while (position_ < source_.size() && source_[position_] != quote) {
      if (source_[position_] == '\\')
        lex_escape(text);
      else
        text += source_[position_++];
    }
    if (position_ == source_.size()) {
      position_ = begin;
      fail_here("a text has no closing quote");
    }
    ++position_;
    add(Kind::text, std::move(text), begin);
  }

  // Python's escapes; a backslash before anything else stands for itself.
  void lex_escape(std::string& text) {
    constexpr std::string_view letters = "\\'\"abfnrtv", meanings = "\\'\"\a\b\f\n\r\t\v";
    if (position_ + 1 == source_.size()) fail_here("a text has no closing quote");
    const char letter = source_[position_ + 1];
    if (const size_t known = letters.find(letter); known != std::string_view::npos) {
      text += meanings[known];
      position_ += 2;
    } else if (letter == '\n') {
      position_ += 2;
    } else if (letter >= '0' && letter <= '7') {
      size_t count = 1;
      while (count < 3 && position_ + 1 + count < source_.size() && source_[position_ + 1 + count] >= '0' &&
             source_[position_ + 1 + count] <= '7')
        ++count;
      append_code_point(text, position_ + 1, count, 8);
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      append_code_point(text, position_ + 2, letter == 'x' ? 2 : letter == 'u' ? 4 : 8, 16);
    } else if (letter == 'N') {
      fail_here("\\N{...} is not supported in a text");
    } else {
      text += source_[position_++];
    }
  }

  void append_code_point(std::string& text, size_t begin, size_t count, uint32_t base) {
    uint64_t code_point = 0;
    for (size_t i = begin; i < begin + count; ++i) {
      const char c = i < source_.size() ? source_[i] : ' ';
      const size_t digit =
          std::string_view("0123456789abcdef").find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
      if (digit >= base) fail_here("an escape has too few digits");
      code_point = code_point * base + digit;
    }
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000))
      fail_here("an escape names no character");
    append_utf8(text, static_cast<char32_t>(code_point));
    position_ = begin + count;
  }

  void lex_symbol(std::string& open) {
    const size_t begin = position_;
    static constexpr std::string_view symbols[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                   "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                   ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto found =
        std::find_if(std::begin(symbols), std::end(symbols), [&](std::string_view symbol) { return next_is(symbol); });
    if (found == std::end(symbols)) fail_here("an unexpected character");
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c == ')' || c == ']' || c == '}') {
      const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != wanted) fail_here(fmt::format("an unexpected '{}'", c));
      open.pop_back();
    }
    position_ += found->size();
    add(Kind::symbol, std::string(*found), begin);
  }

  std::string source_;
  size_t position_ = 0;
  bool at_line_start_ = true;  // the last tag's end took the line end with it
  size_t counted_ = 0;         // bytes that place_ has passed
  JinjaPlace place_;
  std::vector<JinjaToken> tokens_;
};

}  // namespace

std::vector<JinjaToken> lex_jinja(std::string_view source) {
  if (source.size() > max_source_bytes)
    fail_jinja({}, fmt::format("it has {} bytes, at most {} are accepted", source.size(), max_source_bytes));
  return Lexer(with_plain_newlines(lossy_utf8(source))).lex();
}

void fail_jinja(JinjaPlace place, std::string_view what) {
  fail(ExitCode::bad_data, "the chat template fails at line {}, column {}: {}; pass raw prompts or another template",
       place.line, place.column, what);
}

}  // namespace trireme
