#pragma once

#include <string>

#include "text/token_model.h"

namespace trireme {

// BERT's WordPiece: from the left the longest token that fits; what does not begin a word has a prefix. WordLevel is
// the same with whole words only.
class WordPiece : public TokenModel {
 public:
  WordPiece(const JsonField& model, const Vocabulary& vocabulary, bool byte_level, const std::vector<int32_t>& hidden);

  void encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const override;

 private:
  int32_t find(std::string_view text) const;
  bool add_pieces(std::string_view word, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  const bool byte_level_;
  const bool whole_words_;
  std::string prefix_;
  size_t max_characters_ = 0;  // of a word that is cut into pieces
  size_t longest_token_ = 0;   // in bytes
  int32_t unknown_id_ = -1;
  std::vector<int32_t> hidden_;  // ascending
};

}  // namespace trireme
