#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "text/vocabulary.h"

namespace trireme {

// The ids of the tokens that are one character.
class CodePointIds {
 public:
  explicit CodePointIds(const Vocabulary& vocabulary);

  int32_t find(char32_t code_point) const {  // -1: none
    return code_point < ascii_.size() ? ascii_[code_point] : find_other(code_point);
  }

 private:
  struct Entry {
    char32_t code_point = 0;
    int32_t id = -1;
  };
  int32_t find_other(char32_t code_point) const;

  std::array<int32_t, 128> ascii_;
  std::vector<Entry> others_;  // open addressing, a power of two, at most half full
};

}  // namespace trireme
