#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/json_field.h"
#include "text/vocabulary.h"

namespace trireme {

// The `merges` of a tokenizer.json: pairs of ids, their rank and what they become.
class MergeTable {
 public:
  struct Merge {
    uint64_t pair = ~0ull;  // left id << 32 | right id; ~0: an empty slot
    uint32_t rank = 0;
    int32_t id = -1;
  };

  // prefix: of the right part (continuing_subword_prefix), which a merge drops. Throws Error(bad_data) for merges that
  // name no token.
  MergeTable(const JsonField& merges, std::string_view prefix, const Vocabulary& vocabulary);

  const Merge* find(int32_t left, int32_t right) const;
  const std::vector<Merge>& slots() const { return slots_; }  // empty ones have id -1

 private:
  void insert(const Merge& merge);

  std::vector<Merge> slots_;  // open addressing, a power of two of slots, at most half full
};

}  // namespace trireme
