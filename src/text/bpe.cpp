#include "text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "text/byte_level.h"

namespace trireme {
namespace {

constexpr size_t max_merges = 1 << 23;  // published files have fewer than 2^20

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// The finalizer of MurmurHash3: every bit of the pair reaches the low bits.
uint64_t mixed(uint64_t value) {
  value = (value ^ value >> 33) * 0xFF51AFD7ED558CCDull;
  value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53ull;
  return value ^ value >> 33;
}

// Both ways in which files write a merge: "left right" and ["left", "right"].
std::pair<std::string, std::string> read_merge(const JsonField& merge, const nlohmann::json& value) {
  if (value.is_array()) {
    if (value.size() != 2 || !value[0].is_string() || !value[1].is_string()) merge.damaged(value.dump(), "two strings");
    return {value[0].get<std::string>(), value[1].get<std::string>()};
  }
  const std::string& text = merge.text();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
    merge.damaged(text, "two tokens with one space between");
  return {text.substr(0, space), text.substr(space + 1)};
}

bool comes_later(const Bpe::Scratch::Candidate& a, const Bpe::Scratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

Bpe::Bpe(const JsonField& model, const Vocabulary& vocabulary) {
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const JsonField affix = model[name]; !affix.text_or("").empty()) affix.unsupported(affix.text(), "none");
  if (const JsonField fallback = model["byte_fallback"]; fallback.flag_or(false)) fallback.unsupported("true", "false");
  if (!model["dropout"].is_null()) model["dropout"].unsupported("set", "null: ids must not depend on chance");
  for (int byte = 0; byte < 256; ++byte) {
    const char raw = static_cast<char>(byte);
    byte_ids_[byte] = vocabulary.find(to_byte_alphabet({&raw, 1}));
  }
  if (const JsonField unknown = model["unk_token"]; !unknown.is_null()) {
    unknown_id_ = vocabulary.find(unknown.text());
    if (unknown_id_ < 0) unknown.damaged(unknown.text(), "a token of the vocabulary");
  }
  fuse_unknown_ = model["fuse_unk"].flag_or(false);
  read_merges(model["merges"], vocabulary);
}

void Bpe::read_merges(const JsonField& merges, const Vocabulary& vocabulary) {
  const nlohmann::json& list = merges.array();
  if (list.size() > max_merges)
    merges.damaged(fmt::format("{} merges", list.size()), fmt::format("at most {}", max_merges));
  merges_.resize(std::bit_ceil(2 * list.size() + 1));
  uint32_t rank = 0;
  for (const nlohmann::json& value : list) {
    const JsonField merge(value, fmt::format("{}[{}]", merges.path(), rank));
    const auto [left, right] = read_merge(merge, value);
    const auto id_of = [&](const std::string& token) {
      const int32_t id = vocabulary.find(token);
      if (id < 0) merge.damaged(token, "a token of the vocabulary");
      return id;
    };
    insert({pair_of(id_of(left), id_of(right)), rank++, id_of(left + right)});
  }
}

void Bpe::insert(const Merge& merge) {
  const size_t mask = merges_.size() - 1;
  size_t slot = mixed(merge.pair) & mask;
  while (merges_[slot].id >= 0 && merges_[slot].pair != merge.pair) slot = (slot + 1) & mask;
  merges_[slot] = merge;  // of two equal merges the later counts, as in tokenizers
}

const Bpe::Merge* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = mixed(pair) & mask; merges_[slot].id >= 0; slot = (slot + 1) & mask)
    if (merges_[slot].pair == pair) return &merges_[slot];
  return nullptr;
}

void Bpe::add_symbols(std::string_view word, std::vector<Scratch::Symbol>& symbols) const {
  symbols.clear();
  bool after_unknown = false;
  for (const char byte : word) {
    const int32_t known = byte_ids_[static_cast<unsigned char>(byte)];
    const bool fused = known < 0 && after_unknown && fuse_unknown_;
    after_unknown = known < 0;
    const int32_t id = known < 0 ? unknown_id_ : known;
    if (id < 0 || fused) continue;
    const auto position = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, position - 1, position + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

void Bpe::consider(int32_t left, Scratch& scratch) const {
  if (left < 0) return;
  const int32_t right = scratch.symbols[left].next;
  if (right < 0) return;
  const Merge* merge = find(scratch.symbols[left].id, scratch.symbols[right].id);
  if (!merge) return;
  scratch.heap.push_back({merge->rank, left, merge->id});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), comes_later);
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  auto& [symbols, heap] = scratch;
  add_symbols(word, symbols);
  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int32_t>(i), scratch);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    const Scratch::Candidate candidate = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[candidate.position];
    if (left.id < 0 || left.next < 0) continue;
    Scratch::Symbol& right = symbols[left.next];
    const Merge* merge = find(left.id, right.id);
    if (!merge || merge->id != candidate.id) continue;  // an older candidate: a neighbour has changed since
    left.id = merge->id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = candidate.position;
    consider(left.previous, scratch);
    consider(candidate.position, scratch);
  }
  for (const Scratch::Symbol& symbol : symbols)
    if (symbol.id >= 0) ids.push_back(symbol.id);
}

}  // namespace trireme
