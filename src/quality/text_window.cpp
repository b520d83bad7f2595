#include "quality/text_window.h"

#include <algorithm>

#include "base/error.h"

namespace trireme {

std::vector<TextWindow> text_windows(std::span<const int32_t> text, int32_t bos, int64_t length, int64_t unscored) {
  const int64_t before = bos >= 0 ? 1 : 0, room = length - before, tokens = std::ssize(text);
  must(unscored >= 0 && unscored < room, "a window has tokens that count");
  std::vector<TextWindow> windows;
  for (int64_t begin = 0; begin == 0 || begin + unscored < tokens; begin += room - unscored) {
    TextWindow window;
    window.offset = begin - before;
    const auto piece = text.subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(room, tokens - begin)));
    window.tokens.reserve(piece.size() + 1);
    if (before) window.tokens.push_back(bos);
    for (int32_t token : piece) window.tokens.push_back(token);
    window.first_scored = static_cast<int32_t>(std::max<int64_t>(1, begin == 0 ? 0 : before + unscored));
    if (window.positions() > 0) windows.push_back(std::move(window));
  }
  return windows;
}

}  // namespace trireme
