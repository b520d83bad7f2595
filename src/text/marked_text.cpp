#include "text/marked_text.h"

#include <algorithm>

#include "text/utf8.h"

namespace trireme {

void MarkedText::append(std::string_view piece, bool is_trusted) {
  const size_t begin = text.size();
  if (append_lossy(text, piece) < piece.size()) text += replacement_character;
  if (is_trusted) trust(begin, text.size());
}

void MarkedText::append(const MarkedText& other) {
  const size_t begin = text.size();
  text += other.text;
  for (const Range& range : other.trusted) trust(begin + range.begin, begin + range.end);
}

void MarkedText::trust(size_t begin, size_t end) {
  if (begin == end) return;
  if (!trusted.empty() && trusted.back().end == begin)
    trusted.back().end = end;
  else
    trusted.push_back({begin, end});
}

MarkedText::Origin MarkedText::origin(size_t begin, size_t end) const {
  const auto after = [](size_t position, const Range& range) { return position < range.end; };
  const auto range = std::upper_bound(trusted.begin(), trusted.end(), begin, after);  // the first that ends after begin
  if (range == trusted.end() || range->begin >= end) return Origin::untrusted;
  return range->begin <= begin && end <= range->end ? Origin::trusted : Origin::mixed;
}

MarkedText MarkedText::slice(size_t begin, size_t end) const {
  MarkedText part{text.substr(begin, end - begin), {}};
  const auto after = [](size_t position, const Range& range) { return position < range.end; };
  for (auto range = std::upper_bound(trusted.begin(), trusted.end(), begin, after); range != trusted.end(); ++range) {
    if (range->begin >= end) break;
    part.trusted.push_back({std::max(range->begin, begin) - begin, std::min(range->end, end) - begin});
  }
  return part;
}

std::vector<TextPiece> MarkedText::pieces() const {
  std::vector<TextPiece> pieces;
  size_t done = 0;
  const auto take_to = [&](size_t end, bool is_trusted) {
    if (done < end) pieces.push_back({text.substr(done, end - done), is_trusted});
    done = end;
  };
  for (const Range& range : trusted) {
    take_to(range.begin, false);
    take_to(range.end, true);
  }
  take_to(text.size(), false);
  return pieces;
}

}  // namespace trireme
