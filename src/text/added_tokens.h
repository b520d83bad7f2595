#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/json_field.h"
#include "text/marked_text.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"

namespace trireme {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool single_word = false;  // counts only between non-word characters
  bool lstrip = false;       // takes the blanks before it
  bool rstrip = false;       // takes the blanks after it
  bool normalized = false;   // matched in normalized text
};

// The `added_tokens` of a tokenizer.json: texts that are cut out before anything else happens. Leftmost first, of those
// the longest. A special token counts only in trusted text; across a border of trust it is not seen.
class AddedTokens {
 public:
  enum class Stage { raw, normalized };  // each token belongs to one
  using TextSink = std::function<void(size_t begin, size_t end)>;
  using TokenSink = std::function<void(int32_t id)>;

  // Puts them into the vocabulary, too.
  AddedTokens(const JsonField& field, const Normalizer& normalizer, Vocabulary& vocabulary);

  std::vector<int32_t> special_ids() const;  // ascending

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  bool has_normalized() const { return !texts_[1].trie.empty(); }

  // Calls `text` for each stretch without a token of that stage and `token` for each token, in order.
  void split(const MarkedText& source, Stage stage, const TextSink& text, const TokenSink& token) const;

 private:
  // The texts of all tokens of a stage and their places in tokens_.
  struct Texts {
    ByteTrie trie;
    std::array<bool, 256> first_bytes{};
  };
  struct Match {
    int32_t token;  // -1: none
    size_t end;
  };
  AddedToken read(const JsonField& field, Vocabulary& vocabulary);
  Match longest(const ByteTrie& trie, const MarkedText& source, size_t begin) const;
  bool counts(const AddedToken& token, const MarkedText& source, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  std::array<Texts, 2> texts_;  // by Stage
};

}  // namespace trireme
