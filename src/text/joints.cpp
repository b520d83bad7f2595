#include "text/joints.h"

#include "text/mixed_bits.h"
#include "text/utf8.h"

namespace trireme {
namespace {

size_t slot_of(const std::vector<uint64_t>& pairs, uint64_t pair) {
  const size_t mask = pairs.size() - 1;
  size_t slot = mixed_bits(pair) & mask;
  while (pairs[slot] != 0 && pairs[slot] != pair) slot = (slot + 1) & mask;
  return slot;
}

}  // namespace

Joints::Joints(const MergeTable& merges, const CodePointIds& characters, const Vocabulary& vocabulary)
    : characters_(characters), pairs_(1024) {
  for (char32_t left = 0; left < ascii; ++left)
    for (char32_t right = 0; right < ascii; ++right)
      if (characters.find(left) >= 0 && characters.find(right) >= 0) ascii_cuts_.set(left * ascii + right);
  for (const MergeTable::Merge& merge : merges.slots())
    if (merge.id >= 0) add_text(vocabulary.text(merge.id));
}

void Joints::add_text(std::string_view text) {
  size_t position = 0;
  if (text.empty()) return;
  for (char32_t left = next_code_point(text, position); position < text.size();) {
    const char32_t right = next_code_point(text, position);
    add(left, right);
    left = right;
  }
}

void Joints::add(char32_t left, char32_t right) {
  if (left < ascii && right < ascii) return ascii_cuts_.reset(left * ascii + right), void();
  const uint64_t pair = static_cast<uint64_t>(left) << 32 | right;
  size_t slot = slot_of(pairs_, pair);
  if (pairs_[slot] == pair) return;
  if (2 * ++count_ > pairs_.size()) {
    std::vector<uint64_t> old(2 * pairs_.size());
    old.swap(pairs_);
    for (const uint64_t moved : old)
      if (moved != 0) pairs_[slot_of(pairs_, moved)] = moved;
    slot = slot_of(pairs_, pair);
  }
  pairs_[slot] = pair;
}

bool Joints::may_cut_other(char32_t left, char32_t right) const {
  if (characters_.find(left) < 0 || characters_.find(right) < 0) return false;
  return pairs_[slot_of(pairs_, static_cast<uint64_t>(left) << 32 | right)] == 0;
}

}  // namespace trireme
