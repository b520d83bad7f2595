#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

#include "text/code_point_ids.h"
#include "text/merge_table.h"

namespace trireme {

// Which two characters ever stand side by side inside a merged token. Between any others a word can be cut, and its
// parts merge as the whole would: a page of SentencePiece text falls into words, though it is one word to the model.
class Joints {
 public:
  Joints(const MergeTable& merges, const CodePointIds& characters, const Vocabulary& vocabulary);

  // Never beside a character without a token: what becomes of it may depend on its neighbours.
  bool may_cut(char32_t left, char32_t right) const {
    if (left < ascii && right < ascii) return ascii_cuts_[left * ascii + right];
    return may_cut_other(left, right);
  }

 private:
  static constexpr size_t ascii = 128;

  bool may_cut_other(char32_t left, char32_t right) const;
  void add(char32_t left, char32_t right);
  void add_text(std::string_view text);

  const CodePointIds& characters_;
  std::bitset<ascii * ascii> ascii_cuts_;
  std::vector<uint64_t> pairs_;  // open addressing; 0: empty (no pair is two zeros: U+0000 is ASCII)
  size_t count_ = 0;
};

}  // namespace trireme
