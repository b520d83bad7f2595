#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/vocabulary.h"

namespace trireme {

// Byte pair encoding over the bytes of a word: while two neighbours have a merge, the pair of lowest rank (leftmost
// first) becomes one token. O(n log n) in the length of the word.
class Bpe {
 public:
  // Buffers of one encode call, reused from word to word.
  struct Scratch {
    struct Symbol {
      int32_t id;  // -1: merged into its left neighbour
      int32_t previous;
      int32_t next;
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;  // of the left symbol
      int32_t id;        // of the merged token
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;  // lowest (rank, position) on top
  };

  // Throws Error(bad_data) for what it does not support and for merges that name no token.
  Bpe(const JsonField& model, const Vocabulary& vocabulary);

  // Appends the ids of a word's bytes. A byte without a token becomes the unknown token, or is dropped where there is
  // none.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    uint64_t pair = ~0ull;  // left id << 32 | right id; ~0: an empty slot
    uint32_t rank = 0;
    int32_t id = -1;
  };
  void read_merges(const JsonField& merges, const Vocabulary& vocabulary);
  void insert(const Merge& merge);
  const Merge* find(int32_t left, int32_t right) const;
  void add_symbols(std::string_view word, std::vector<Scratch::Symbol>& symbols) const;
  void consider(int32_t left, Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_;  // -1: no token
  std::vector<Merge> merges_;          // open addressing, a power of two of slots, at most half full
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
};

}  // namespace trireme
