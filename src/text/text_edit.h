#pragma once

#include <string>
#include <string_view>

#include "text/marked_text.h"

namespace trireme {

// A text made from another by replacing stretches of it, in ascending order; what lies between is kept. A replacement
// is trusted when all that it replaces is; an insertion, when what follows it is.
class TextEdit {
 public:
  explicit TextEdit(const MarkedText& source) : source_(source) {}

  std::string_view text() const { return source_.text; }
  // [begin, end) of the source becomes `text`. Not before the end of the edit before this one.
  void replace(size_t begin, size_t end, std::string_view text);
  void remove(size_t begin, size_t end) { replace(begin, end, {}); }

  bool changed() const { return changed_; }
  bool removed_front() const { return removed_front_; }  // what the source begins with has gone without replacement
  MarkedText finish();

 private:
  void keep_to(size_t end);

  const MarkedText& source_;
  MarkedText out_;
  size_t done_ = 0;  // of the source
  bool changed_ = false;
  bool removed_front_ = false;
};

}  // namespace trireme
