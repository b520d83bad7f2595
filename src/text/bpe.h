#pragma once

#include <array>
#include <optional>
#include <string>

#include "text/code_point_ids.h"
#include "text/joints.h"
#include "text/merge_table.h"
#include "text/token_model.h"

namespace trireme {

// Byte pair encoding: while two neighbours have a merge, the pair of lowest rank (leftmost first) becomes one token.
// O(n log n) in the length of the word.
class Bpe : public TokenModel {
 public:
  Bpe(const JsonField& model, const Vocabulary& vocabulary, bool byte_level, const std::vector<int32_t>& hidden);

  void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const override;
  size_t part_bytes(std::string_view word) const override;

 private:
  using Symbols = std::vector<ModelScratch::Symbol>;

  void read_unknown(const JsonField& model);
  bool is_whole_word(std::string_view word, std::vector<int32_t>& ids) const;
  bool merges_fallback() const;
  void add_bytes(std::string_view word, Symbols& symbols) const;
  void add_characters(std::string_view word, Symbols& symbols) const;
  bool add_fallback(std::string_view text, Symbols& symbols) const;
  void consider(int32_t left, ModelScratch& scratch) const;
  void merge_all(ModelScratch& scratch) const;

  const Vocabulary& vocabulary_;
  const bool byte_level_;
  std::string prefix_;  // of every character but the first of a word
  std::string suffix_;  // of the last one
  MergeTable merges_;
  CodePointIds characters_;
  std::array<int32_t, 256> letters_;   // ids of the byte alphabet; -1: no token
  std::array<int32_t, 256> fallback_;  // ids of <0x00> and so on; -1: no token
  bool takes_bytes_ = false;           // a word's bytes are its first tokens
  bool byte_fallback_ = false;
  bool whole_words_ = false;  // a word that is a token is not taken apart (ignore_merges)
  int32_t unknown_id_ = -1;   // -1: what has no token is left out
  bool fuse_unknown_ = false;
  std::vector<int32_t> hidden_;  // ascending
  std::optional<Joints> joints_;
};

}  // namespace trireme
