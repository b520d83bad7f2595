#pragma once

#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace trireme {

// Several pieces as one text that remembers which ranges of it are trusted.
struct MarkedText {
  struct Range {
    size_t begin;
    size_t end;
  };
  enum class Origin { trusted, untrusted, mixed };

  std::string text;            // valid UTF-8
  std::vector<Range> trusted;  // ascending, with gaps between

  void append(std::string_view piece, bool is_trusted);  // what is not UTF-8 in it becomes U+FFFD
  Origin origin(size_t begin, size_t end) const;         // of a part that is not empty
  MarkedText slice(size_t begin, size_t end) const;
};

}  // namespace trireme
