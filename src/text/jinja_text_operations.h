#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "text/marked_text.h"

namespace trireme {

// Python's operations on texts; every one keeps the origin of every character. Positions are bytes.
std::vector<size_t> code_point_starts(std::string_view text);  // one per code point, and the size
enum class Side { left, right, both };
MarkedText strip(const MarkedText& text, Side side, std::optional<std::string_view> characters);
MarkedText replace(const MarkedText& text, std::string_view from, const MarkedText& to,
                   int64_t count);  // count < 0: all
std::vector<MarkedText> split(const MarkedText& text, std::optional<std::string_view> separator, int64_t count);
std::vector<MarkedText> split_from_right(const MarkedText& text, std::string_view separator, int64_t count);
std::vector<MarkedText> split_lines(const MarkedText& text);
MarkedText reversed(const MarkedText& text);

// The text with each code point exchanged; `at_word_start` says whether a letter stands first in its word.
using CodePointMap = std::function<char32_t(char32_t code_point, bool at_word_start)>;
enum class Words { one, by_letters, by_separators };  // where words begin: str.capitalize, str.title, Jinja's title
MarkedText mapped(const MarkedText& text, Words words, const CodePointMap& map);
MarkedText uppercase(const MarkedText& text);
MarkedText lowercase(const MarkedText& text);
MarkedText titlecase(const MarkedText& text, Words words);

}  // namespace trireme
