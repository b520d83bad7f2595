#include "text/jinja_text_operations.h"

#include <algorithm>
#include <string>

#include "text/jinja_value.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace trireme {
namespace {

// Calls visit(begin, end) for the pieces between separators, at most count cuts (count < 0: any number).
template <typename Visit>
void visit_pieces(std::string_view text, std::string_view separator, int64_t count, const Visit& visit) {
  size_t begin = 0;
  for (int64_t cuts = 0; count < 0 || cuts < count; ++cuts) {
    const size_t end = text.find(separator, begin);
    if (end == std::string_view::npos) break;
    visit(begin, end);
    begin = end + separator.size();
  }
  visit(begin, text.size());
}

std::vector<MarkedText> split_at_space(const MarkedText& text, int64_t count) {
  std::vector<MarkedText> pieces;
  const std::string_view all = text.text;
  size_t position = 0;
  const auto skip = [&](bool space) {
    for (size_t next = position; next < all.size(); position = next)
      if (is_python_space(next_code_point(all, next)) != space) return;
  };
  for (skip(true); position < all.size(); skip(true)) {
    const size_t begin = position;
    if (count >= 0 && static_cast<int64_t>(pieces.size()) == count) {
      pieces.push_back(strip(text.slice(begin, all.size()), Side::right, std::nullopt));
      break;
    }
    skip(false);
    pieces.push_back(text.slice(begin, position));
  }
  return pieces;
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool separates_title_words(char32_t c) {
  return is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

}  // namespace

std::vector<size_t> code_point_starts(std::string_view text) {
  std::vector<size_t> starts;
  for (size_t position = 0; position < text.size(); next_code_point(text, position)) starts.push_back(position);
  starts.push_back(text.size());
  return starts;
}

MarkedText strip(const MarkedText& text, Side side, std::optional<std::string_view> characters) {
  const std::string_view all = text.text;
  const auto goes = [&](size_t begin, size_t end) {
    if (characters) return characters->find(all.substr(begin, end - begin)) != std::string_view::npos;
    return is_python_space(next_code_point(all, begin));
  };
  size_t begin = 0, end = all.size();
  if (side != Side::right)
    for (size_t next = begin; begin < end; begin = next) {
      next_code_point(all, next);
      if (!goes(begin, next)) break;
    }
  if (side != Side::left)
    while (begin < end) {
      const size_t start = code_point_start(all, end);
      if (!goes(start, end)) break;
      end = start;
    }
  return text.slice(begin, end);
}

MarkedText replace(const MarkedText& text, std::string_view from, const MarkedText& to, int64_t count) {
  MarkedText out;
  const auto grow = [&](const MarkedText& piece) {
    if (out.text.size() + piece.text.size() > max_text_size) fault("a text grows past {} bytes", max_text_size);
    out.append(piece);
  };
  if (from.empty()) {  // between all characters and at both ends
    const std::vector<size_t> starts = code_point_starts(text.text);
    for (size_t i = 0; i < starts.size(); ++i) {
      if (count < 0 || static_cast<int64_t>(i) < count) grow(to);
      if (i + 1 < starts.size()) grow(text.slice(starts[i], starts[i + 1]));
    }
    return out;
  }
  bool first = true;
  visit_pieces(text.text, from, count, [&](size_t begin, size_t end) {
    if (!first) grow(to);
    first = false;
    grow(text.slice(begin, end));
  });
  return out;
}

std::vector<MarkedText> split(const MarkedText& text, std::optional<std::string_view> separator, int64_t count) {
  if (!separator) return split_at_space(text, count);
  if (separator->empty()) fault("empty separator");
  std::vector<MarkedText> pieces;
  visit_pieces(text.text, *separator, count,
               [&](size_t begin, size_t end) { pieces.push_back(text.slice(begin, end)); });
  return pieces;
}

std::vector<MarkedText> split_from_right(const MarkedText& text, std::string_view separator, int64_t count) {
  if (separator.empty()) fault("empty separator");
  std::vector<MarkedText> pieces;
  size_t end = text.text.size();
  while (count < 0 || static_cast<int64_t>(pieces.size()) < count) {
    const size_t found = std::string_view(text.text).substr(0, end).rfind(separator);
    if (found == std::string_view::npos) break;
    pieces.push_back(text.slice(found + separator.size(), end));
    end = found;
  }
  pieces.push_back(text.slice(0, end));
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<MarkedText> split_lines(const MarkedText& text) {
  std::vector<MarkedText> lines;
  const std::string_view all = text.text;
  size_t begin = 0;
  for (size_t position = 0; position < all.size();) {
    const size_t end = position;
    const char32_t c = next_code_point(all, position);
    if (!is_line_end(c)) continue;
    if (c == '\r' && position < all.size() && all[position] == '\n') ++position;
    lines.push_back(text.slice(begin, end));
    begin = position;
  }
  if (begin < all.size()) lines.push_back(text.slice(begin, all.size()));
  return lines;
}

MarkedText reversed(const MarkedText& text) {
  MarkedText out;
  const std::vector<size_t> starts = code_point_starts(text.text);
  for (size_t i = starts.size() - 1; i > 0; --i) out.append(text.slice(starts[i - 1], starts[i]));
  return out;
}

MarkedText mapped(const MarkedText& text, Words words, const CodePointMap& map) {
  MarkedText out;
  bool at_start = true;
  for (size_t position = 0; position < text.text.size();) {
    const size_t begin = position;
    const char32_t c = next_code_point(text.text, position);
    const size_t out_begin = out.text.size();
    append_utf8(out.text, map(c, at_start));
    if (text.origin(begin, position) == MarkedText::Origin::trusted) out.trust(out_begin, out.text.size());
    if (words == Words::one) at_start = false;
    if (words == Words::by_letters) at_start = !is_letter(c);
    if (words == Words::by_separators) at_start = separates_title_words(c);
  }
  return out;
}

MarkedText uppercase(const MarkedText& text) {
  return mapped(text, Words::one, [](char32_t c, bool) { return to_upper(c); });
}

MarkedText lowercase(const MarkedText& text) {
  return mapped(text, Words::one, [](char32_t c, bool) { return to_lower(c); });
}

MarkedText titlecase(const MarkedText& text, Words words) {
  return mapped(text, words, [](char32_t c, bool at_start) { return at_start ? to_upper(c) : to_lower(c); });
}

}  // namespace trireme
