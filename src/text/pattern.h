#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/regex.h"

namespace trireme {

// What Split and Replace look for: {"String": text} or {"Regex": expression}.
class Pattern {
 public:
  explicit Pattern(const JsonField& field);
  Pattern(std::string_view regex, std::string_view where);

  // Cuts text into matches and the stretches between: sink(begin, end, is_match), in order. An empty match right after
  // another does not count.
  template <typename Sink>
  void each(std::string_view text, Regex::Scratch& scratch, const Sink& sink) const {
    size_t gap = 0, from = 0;
    std::optional<size_t> last_end;
    while (from <= text.size()) {
      const auto match = find(text, from, scratch);
      if (!match) break;
      if (match->begin == match->end && last_end == match->end) {
        if (!step(text, from)) break;
        continue;
      }
      if (gap < match->begin) sink(gap, match->begin, false);
      sink(match->begin, match->end, true);
      from = gap = match->end;
      last_end = match->end;
    }
    if (gap < text.size()) sink(gap, text.size(), false);
  }

 private:
  std::optional<Regex::Match> find(std::string_view text, size_t from, Regex::Scratch& scratch) const;
  static bool step(std::string_view text, size_t& position);  // one character on; false at the end

  std::string literal_;
  std::vector<Regex> regex_;  // one, or none when a literal text is looked for
};

}  // namespace trireme
