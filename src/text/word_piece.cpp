#include "text/word_piece.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr int64_t default_max_characters = 100;  // BERT's
constexpr int64_t most_characters = 1 << 16;     // the work of a word grows with their number times a token's length

}  // namespace

WordPiece::WordPiece(const JsonField& model, const Vocabulary& vocabulary, bool byte_level,
                     const std::vector<int32_t>& hidden)
    : vocabulary_(vocabulary),
      byte_level_(byte_level),
      whole_words_(model["type"].text() == "WordLevel"),
      prefix_(model["continuing_subword_prefix"].text_or("##")),
      hidden_(hidden) {
  const JsonField most = model["max_input_chars_per_word"];
  max_characters_ = static_cast<size_t>(most.is_null() ? default_max_characters : most.integer(0, most_characters));
  const JsonField unknown = model["unk_token"];
  unknown_id_ = vocabulary.find_in_model(unknown.text_or("[UNK]"));
  if (unknown_id_ < 0) unknown.damaged(unknown.text_or("[UNK]"), "a token of the vocabulary");
  for (const auto& [text, id] : vocabulary.ids()) longest_token_ = std::max(longest_token_, text.size());
}

int32_t WordPiece::find(std::string_view text) const {
  const int32_t id = vocabulary_.find_in_model(text);
  return std::binary_search(hidden_.begin(), hidden_.end(), id) ? -1 : id;
}

bool WordPiece::add_pieces(std::string_view word, std::vector<int32_t>& ids) const {
  std::string piece;
  for (size_t begin = 0; begin < word.size();) {
    piece = begin == 0 ? "" : prefix_;
    const size_t prefix = piece.size();
    piece += word.substr(begin, longest_token_);
    // A cut inside a character finds no token.
    while (piece.size() > prefix && find(piece) < 0) piece.pop_back();
    if (piece.size() == prefix) return false;
    ids.push_back(find(piece));
    begin += piece.size() - prefix;
  }
  return true;
}

void WordPiece::encode(std::string_view word, ModelScratch&, std::vector<int32_t>& ids) const {
  const std::string letters = byte_level_ ? to_byte_alphabet(word) : std::string();
  if (byte_level_) word = letters;
  if (whole_words_) {
    const int32_t id = find(word);
    return ids.push_back(id < 0 ? unknown_id_ : id);
  }
  const size_t before = ids.size();
  const auto begins_character = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; };
  const auto characters = static_cast<size_t>(std::count_if(word.begin(), word.end(), begins_character));
  if (characters <= max_characters_ && add_pieces(word, ids)) return;
  ids.resize(before);
  ids.push_back(unknown_id_);
}

}  // namespace trireme
