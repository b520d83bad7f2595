#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/vocabulary.h"

namespace trireme {

// Buffers of one encode call, reused from word to word.
struct ModelScratch {
  // Bpe: the tokens of a word, linked.
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
  // Unigram: the best way to a place in the word.
  struct Path {
    double score;
    int32_t id;
    int32_t begin;  // of its last token; -1: no way leads here
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;  // lowest (rank, position) on top
  std::vector<Path> paths;
};

// The `model` of a tokenizer.json: turns a word into ids. Immutable; safe to share by threads.
class TokenModel {
 public:
  // byte_level: words come as bytes, which the model is to see in the byte alphabet. hidden: ids that no text may
  // become (special tokens), ascending. `vocabulary` must outlive the model and may grow. Throws Error(bad_data).
  static std::unique_ptr<TokenModel> of(const JsonField& field, const Vocabulary& vocabulary, bool byte_level,
                                        const std::vector<int32_t>& hidden);
  virtual ~TokenModel() = default;

  virtual void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const = 0;
  // The length of the first part of a word whose ids do not depend on the rest, nor the rest's on it. At least 1.
  virtual size_t part_bytes(std::string_view word) const { return word.size(); }
};

}  // namespace trireme
