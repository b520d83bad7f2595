#include "text/bpe.h"

#include <fmt/core.h>

#include <algorithm>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace trireme {
namespace {

bool comes_later(const ModelScratch::Candidate& a, const ModelScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

std::string affix(const JsonField& field) { return field.text_or(""); }

void append(std::vector<ModelScratch::Symbol>& symbols, int32_t id) {
  const auto position = static_cast<int32_t>(symbols.size());
  symbols.push_back({id, position - 1, position + 1});
}

}  // namespace

Bpe::Bpe(const JsonField& model, const Vocabulary& vocabulary, bool byte_level, const std::vector<int32_t>& hidden)
    : vocabulary_(vocabulary),
      byte_level_(byte_level),
      prefix_(affix(model["continuing_subword_prefix"])),
      suffix_(affix(model["end_of_word_suffix"])),
      merges_(model["merges"], prefix_, vocabulary),
      characters_(vocabulary),
      byte_fallback_(model["byte_fallback"].flag_or(false)),
      whole_words_(model["ignore_merges"].flag_or(false)),
      fuse_unknown_(model["fuse_unk"].flag_or(false)),
      hidden_(hidden) {
  if (const JsonField dropout = model["dropout"]; !dropout.is_null() && dropout.number() != 0)
    dropout.unsupported("set", "null: ids must not depend on chance");
  for (int byte = 0; byte < 256; ++byte) {
    const char raw = static_cast<char>(byte);
    letters_[byte] = vocabulary.find_in_model(to_byte_alphabet({&raw, 1}));
    fallback_[byte] = vocabulary.find_in_model(fmt::format("<0x{:02X}>", byte));
  }
  read_unknown(model);
  const bool all_letters = std::all_of(letters_.begin(), letters_.end(), [](int32_t id) { return id >= 0; });
  const bool has_affixes = !prefix_.empty() || !suffix_.empty();
  takes_bytes_ = byte_level && !has_affixes && (all_letters || !byte_fallback_);
  if (!byte_level && !has_affixes && !whole_words_ && !merges_fallback())
    joints_.emplace(merges_, characters_, vocabulary);
}

// A merge of a fallback token or of the unknown one joins what its text does not show.
bool Bpe::merges_fallback() const {
  std::vector<bool> hides_text(static_cast<size_t>(vocabulary_.size()));
  if (unknown_id_ >= 0) hides_text[static_cast<size_t>(unknown_id_)] = true;
  for (char32_t byte = 0; byte < 256; ++byte)
    if (const int32_t id = fallback_[byte]; byte_fallback_ && id >= 0 && (byte >= 0x80 || characters_.find(byte) != id))
      hides_text[static_cast<size_t>(id)] = true;
  for (const MergeTable::Merge& merge : merges_.slots())
    if (merge.id >= 0 && (hides_text[merge.pair >> 32] || hides_text[merge.pair & 0xFFFFFFFF])) return true;
  return false;
}

void Bpe::read_unknown(const JsonField& model) {
  const JsonField unknown = model["unk_token"];
  if (unknown.is_null()) return;
  unknown_id_ = vocabulary_.find_in_model(unknown.text());
  const auto& bytes = byte_level_ ? letters_ : fallback_;
  const bool needless = (byte_level_ || byte_fallback_) && std::find(bytes.begin(), bytes.end(), -1) == bytes.end();
  if (unknown_id_ < 0 && !needless) unknown.damaged(unknown.text(), "a token of the vocabulary");
}

size_t Bpe::part_bytes(std::string_view word) const {
  if (!joints_ || word.empty()) return word.size();
  size_t position = 0;
  for (char32_t left = next_code_point(word, position); position < word.size();) {
    const size_t border = position;
    const char32_t right = next_code_point(word, position);
    if (joints_->may_cut(left, right)) return border;
    left = right;
  }
  return word.size();
}

void Bpe::add_bytes(std::string_view word, Symbols& symbols) const {
  bool after_unknown = false;
  for (const char byte : word) {
    const int32_t known = letters_[static_cast<unsigned char>(byte)];
    const bool fused = known < 0 && after_unknown && fuse_unknown_;
    after_unknown = known < 0;
    const int32_t id = known < 0 ? unknown_id_ : known;
    if (id >= 0 && !fused) append(symbols, id);
  }
}

// All bytes of a character, or none.
bool Bpe::add_fallback(std::string_view text, Symbols& symbols) const {
  const auto id_of = [&](char byte) { return fallback_[static_cast<unsigned char>(byte)]; };
  if (!byte_fallback_ || std::any_of(text.begin(), text.end(), [&](char byte) { return id_of(byte) < 0; }))
    return false;
  for (const char byte : text) append(symbols, id_of(byte));
  return true;
}

void Bpe::add_characters(std::string_view word, Symbols& symbols) const {
  bool unknown = false;  // one waits for its end; fallback tokens overtake it, as in tokenizers
  std::string affixed;
  for (size_t position = 0; position < word.size();) {
    const size_t begin = position;
    const char32_t code_point = next_code_point(word, position);
    const bool is_last = position == word.size();
    std::string_view text = word.substr(begin, position - begin);
    const bool plain = (begin == 0 || prefix_.empty()) && (!is_last || suffix_.empty());
    if (!plain) text = affixed = (begin == 0 ? "" : prefix_) + std::string(text) + (is_last ? suffix_ : "");
    const int32_t id = plain ? characters_.find(code_point) : vocabulary_.find_in_model(text);
    if (id < 0 && (add_fallback(text, symbols) || unknown_id_ < 0)) continue;
    if (unknown && (id >= 0 || !fuse_unknown_)) append(symbols, unknown_id_);
    unknown = id < 0;
    if (id >= 0) append(symbols, id);
  }
  if (unknown) append(symbols, unknown_id_);
}

bool Bpe::is_whole_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (!whole_words_) return false;
  const int32_t id = vocabulary_.find_in_model(byte_level_ ? to_byte_alphabet(word) : std::string(word));
  if (id < 0 || std::binary_search(hidden_.begin(), hidden_.end(), id)) return false;
  ids.push_back(id);
  return true;
}

void Bpe::consider(int32_t left, ModelScratch& scratch) const {
  if (left < 0) return;
  const int32_t right = scratch.symbols[left].next;
  if (right < 0) return;
  if (const MergeTable::Merge* merge = merges_.find(scratch.symbols[left].id, scratch.symbols[right].id))
    scratch.heap.push_back({merge->rank, left, merge->id});
}

void Bpe::merge_all(ModelScratch& scratch) const {
  auto& [symbols, heap, paths] = scratch;
  const auto push = [&](int32_t left) {
    const size_t before = heap.size();
    consider(left, scratch);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), comes_later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    const ModelScratch::Candidate candidate = heap.back();
    heap.pop_back();
    ModelScratch::Symbol& left = symbols[candidate.position];
    if (left.id < 0 || left.next < 0) continue;
    ModelScratch::Symbol& right = symbols[left.next];
    const MergeTable::Merge* merge = merges_.find(left.id, right.id);
    if (!merge || merge->id != candidate.id) continue;  // an older candidate: a neighbour has changed since
    left.id = merge->id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = candidate.position;
    push(left.previous);
    push(candidate.position);
  }
}

void Bpe::encode(std::string_view word, ModelScratch& scratch, std::vector<int32_t>& ids) const {
  if (is_whole_word(word, ids)) return;
  auto& symbols = scratch.symbols;
  symbols.clear();
  if (takes_bytes_)
    add_bytes(word, symbols);
  else if (byte_level_)
    add_characters(to_byte_alphabet(word), symbols);
  else
    add_characters(word, symbols);
  if (!symbols.empty()) symbols.back().next = -1;
  scratch.heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int32_t>(i), scratch);
  std::make_heap(scratch.heap.begin(), scratch.heap.end(), comes_later);
  merge_all(scratch);
  for (const ModelScratch::Symbol& symbol : symbols)
    if (symbol.id >= 0) ids.push_back(symbol.id);
}

}  // namespace trireme
