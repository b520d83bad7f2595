#include "text/marked_text.h"

#include <algorithm>

#include "text/utf8.h"

namespace trireme {

void MarkedText::append(std::string_view piece, bool is_trusted) {
  const size_t begin = text.size();
  if (append_lossy(text, piece) < piece.size()) text += replacement_character;
  if (!is_trusted || text.size() == begin) return;
  if (!trusted.empty() && trusted.back().end == begin)
    trusted.back().end = text.size();
  else
    trusted.push_back({begin, text.size()});
}

MarkedText::Origin MarkedText::origin(size_t begin, size_t end) const {
  const auto after = [](size_t position, const Range& range) { return position < range.end; };
  const auto range = std::upper_bound(trusted.begin(), trusted.end(), begin, after);  // the first that ends after begin
  if (range == trusted.end() || range->begin >= end) return Origin::untrusted;
  return range->begin <= begin && end <= range->end ? Origin::trusted : Origin::mixed;
}

MarkedText MarkedText::slice(size_t begin, size_t end) const {
  MarkedText part{text.substr(begin, end - begin), {}};
  for (const Range& range : trusted) {
    if (range.begin >= end) break;
    if (range.end > begin) part.trusted.push_back({std::max(range.begin, begin) - begin, std::min(range.end, end) - begin});
  }
  return part;
}

}  // namespace trireme
