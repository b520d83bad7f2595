#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/regex.h"

// Oniguruma's syntax and PCRE2's agree on most of what tokenizers use. This file rewrites the rest, and refuses what it
// does not know: a silent difference would be a wrong token.
namespace trireme {
namespace {

constexpr size_t max_pattern_bytes = 64 << 10;

// White_Space, which is Oniguruma's \s; PCRE2's has U+180E as well.
constexpr std::string_view white_space =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  std::string translate() {
    if (pattern_.size() > max_pattern_bytes) refuse("its length");
    while (!at_end()) step();
    return std::move(out_);
  }

 private:
  bool at_end() const { return position_ == pattern_.size(); }
  bool next_is(std::string_view text) const { return pattern_.substr(position_).starts_with(text); }
  char take() { return pattern_[position_++]; }
  void copy(size_t count) {
    out_ += pattern_.substr(position_, count);
    position_ += count;
  }

  [[noreturn]] void refuse(std::string_view what) const {
    fail(ExitCode::bad_data,
         "tokenizer.json asks for something unsupported: field `{}` uses {} in a regular expression, at byte {}; "
         "tokenize elsewhere and pass token_ids",
         where_, what, position_);
  }

  void step() {
    switch (pattern_[position_]) {
      case '\\':
        return escape(false);
      case '[':
        return character_class();
      case '(':
        return group();
      case '{':
        return interval();
      case '$':
        out_ += "(?=\\n|\\z)";
        ++position_;
        return;
      case '#':
        out_ += "\\#";
        ++position_;
        return;
      default:
        return copy(1);
    }
  }

  void group() {
    for (std::string_view known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"})
      if (next_is(known)) return copy(known.size());
    if (next_is("(?") || next_is("(*")) refuse("a group of an unknown kind");
    copy(1);
  }

  // {n}, {n,}, {n,m}; a trailing + would be possessive in one library only.
  void interval() {
    const size_t close = pattern_.find('}', position_);
    const std::string_view inside =
        pattern_.substr(position_ + 1, close == std::string_view::npos ? 0 : close - position_ - 1);
    const bool counts =
        !inside.empty() && inside[0] != ',' && inside.find_first_not_of("0123456789,") == std::string_view::npos;
    if (!counts) refuse("a brace that is no repetition");
    copy(inside.size() + 2);
    if (next_is("+")) refuse("a repetition of a repetition");
  }

  void character_class() {
    copy(next_is("[^") ? 2 : 1);
    if (next_is("]")) refuse("an empty character class");
    while (!next_is("]")) {
      if (at_end()) refuse("a character class without end");
      if (next_is("\\")) {
        escape(true);
      } else if (next_is("[")) {
        refuse("a character class inside another");
      } else if (next_is("&&")) {
        refuse("an intersection of character classes");
      } else {
        copy(1);
      }
    }
    copy(1);
  }

  void escape(bool in_class) {
    ++position_;
    if (at_end()) refuse("a lone backslash");
    const char letter = take();
    switch (letter) {
      case 's':
        out_ += in_class ? std::string(white_space) : "[" + std::string(white_space) + "]";
        return;
      case 'S':
        out_ += in_class ? "\\S\\x{180e}" : "[^" + std::string(white_space) + "]";
        return;
      case 'v':
        out_ += "\\x0b";
        return;
      case 'u':
        return unicode_escape();
      case 'p':
      case 'P':
        if (!next_is("{")) refuse("a property without braces");
        [[fallthrough]];
      case 'x':
      case 'd':
      case 'D':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        out_ += '\\';
        out_ += letter;
        return brace_argument(letter);
      case 'A':
      case 'z':
        if (in_class) refuse("an anchor in a character class");
        out_ += '\\';
        out_ += letter;
        return;
      default:
        break;
    }
    const bool word =
        (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z');
    if (word) refuse(std::string("the escape \\") + letter);
    if (static_cast<unsigned char>(letter) < 0x80) out_ += '\\';
    out_ += letter;
  }

  void brace_argument(char letter) {
    if ((letter != 'p' && letter != 'P' && letter != 'x') || !next_is("{")) return;
    const size_t close = pattern_.find('}', position_);
    if (close == std::string_view::npos) refuse("a brace without end");
    copy(close + 1 - position_);
  }

  void unicode_escape() {
    const std::string_view digits = pattern_.substr(position_, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
      refuse("\\u without four hexadecimal digits");
    out_ += "\\x{" + std::string(digits) + "}";
    position_ += 4;
  }

  std::string_view pattern_;
  std::string_view where_;
  size_t position_ = 0;
  std::string out_;
};

}  // namespace

std::string to_pcre(std::string_view oniguruma, std::string_view where) {
  return Translator(oniguruma, where).translate();
}

}  // namespace trireme
