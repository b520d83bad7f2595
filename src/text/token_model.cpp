#include "text/token_model.h"

#include "text/bpe.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace trireme {
namespace {

// Older files leave the type out.
std::string type_of(const JsonField& model) {
  const JsonField type = model["type"];
  if (!type.is_null()) return type.text();
  if (!model["merges"].is_null()) return "BPE";
  return model["vocab"].is_array() ? "Unigram" : "none";
}

}  // namespace

std::unique_ptr<TokenModel> TokenModel::of(const JsonField& field, const Vocabulary& vocabulary, bool byte_level,
                                           const std::vector<int32_t>& hidden) {
  const std::string type = type_of(field);
  if ((type == "Unigram") != field["vocab"].is_array())
    field["vocab"].damaged(field["vocab"].is_array() ? "a list" : "no list", "a list for Unigram, else an object");
  if (type == "BPE") return std::make_unique<Bpe>(field, vocabulary, byte_level, hidden);
  if (type == "Unigram") return std::make_unique<Unigram>(field, vocabulary, byte_level, hidden);
  if (type == "WordPiece" || type == "WordLevel")
    return std::make_unique<WordPiece>(field, vocabulary, byte_level, hidden);
  field["type"].unsupported(type, "BPE, Unigram, WordPiece, WordLevel");
}

}  // namespace trireme
