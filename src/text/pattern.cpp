#include "text/pattern.h"

#include "text/utf8.h"

namespace trireme {

Pattern::Pattern(const JsonField& field) {
  const JsonField literal = field["String"];
  if (literal.is_null())
    regex_.emplace_back(field["Regex"].text(), field.path());
  else
    literal_ = literal.text();
}

Pattern::Pattern(std::string_view regex, std::string_view where) { regex_.emplace_back(regex, where); }

std::optional<Regex::Match> Pattern::find(std::string_view text, size_t from, Regex::Scratch& scratch) const {
  if (!regex_.empty()) return regex_[0].find(text, from, scratch);
  const size_t begin = literal_.empty() ? std::string_view::npos : text.find(literal_, from);
  if (begin == std::string_view::npos) return std::nullopt;
  return Regex::Match{begin, begin + literal_.size()};
}

bool Pattern::step(std::string_view text, size_t& position) {
  if (position == text.size()) return false;
  next_code_point(text, position);
  return true;
}

}  // namespace trireme
