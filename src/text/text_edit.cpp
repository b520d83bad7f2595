#include "text/text_edit.h"

#include <algorithm>

namespace trireme {

void TextEdit::keep_to(size_t end) {
  if (done_ >= end) return;
  if (source_.trusted.empty())
    out_.text.append(source_.text, done_, end - done_);
  else
    out_.append(source_.slice(done_, end));
  done_ = end;
}

void TextEdit::replace(size_t begin, size_t end, std::string_view text) {
  if (!changed_) out_.text.reserve(source_.text.size() + source_.text.size() / 2);
  changed_ = true;
  keep_to(begin);
  if (out_.text.empty() && text.empty()) removed_front_ = true;
  const size_t at = out_.text.size();
  out_.text += text;
  if (!source_.trusted.empty() && begin < source_.text.size() &&
      source_.origin(begin, std::max(end, begin + 1)) == MarkedText::Origin::trusted)
    out_.trust(at, out_.text.size());
  done_ = end;
}

MarkedText TextEdit::finish() {
  keep_to(source_.text.size());
  return std::move(out_);
}

}  // namespace trireme
