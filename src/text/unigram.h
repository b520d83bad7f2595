#pragma once

#include <array>
#include <vector>

#include "text/byte_trie.h"
#include "text/token_model.h"

namespace trireme {

// The unigram language model of SentencePiece (Kudo, 2018): of all ways to cut a word into tokens the one of highest
// summed score, found in one pass (Viterbi). Linear in the word's length.
class Unigram : public TokenModel {
 public:
  Unigram(const JsonField& model, const Vocabulary& vocabulary, bool byte_level, const std::vector<int32_t>& hidden);

  void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const override;

 private:
  void find_paths(std::string_view word, std::vector<ModelScratch::Path>& paths) const;
  void add_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  const bool byte_level_;
  ByteTrie tokens_;
  std::vector<double> scores_;         // by id
  std::array<int32_t, 256> fallback_;  // ids of <0x00> and so on; -1: no token, or no fallback
  double unknown_score_ = 0;
  int32_t unknown_id_ = -1;  // -1: a character without token is an error
};

}  // namespace trireme
