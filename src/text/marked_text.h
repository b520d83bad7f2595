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
  void trust(size_t begin, size_t end);                  // at or after all that is trusted so far
  Origin origin(size_t begin, size_t end) const;         // of a part that is not empty
  void append(const MarkedText& other);
  MarkedText slice(size_t begin, size_t end) const;
  std::vector<TextPiece> pieces() const;  // the same text cut at the borders of trust
};

}  // namespace trireme
