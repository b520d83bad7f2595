#include "text/code_point_ids.h"

#include <bit>

#include "text/mixed_bits.h"
#include "text/utf8.h"

namespace trireme {
namespace {

constexpr size_t max_utf8_bytes = 4;

}  // namespace

CodePointIds::CodePointIds(const Vocabulary& vocabulary) {
  ascii_.fill(-1);
  std::vector<Entry> found;
  for (const auto& [text, id] : vocabulary.ids()) {
    if (text.empty() || text.size() > max_utf8_bytes) continue;
    size_t end = 0;
    const char32_t code_point = next_code_point(text, end);
    if (end != text.size()) continue;
    if (code_point < ascii_.size())
      ascii_[code_point] = id;
    else
      found.push_back({code_point, id});
  }
  others_.resize(std::bit_ceil(2 * found.size() + 1));
  const size_t mask = others_.size() - 1;
  for (const Entry& entry : found) {
    size_t slot = mixed_bits(entry.code_point) & mask;
    while (others_[slot].id >= 0) slot = (slot + 1) & mask;
    others_[slot] = entry;
  }
}

int32_t CodePointIds::find_other(char32_t code_point) const {
  const size_t mask = others_.size() - 1;
  for (size_t slot = mixed_bits(code_point) & mask; others_[slot].id >= 0; slot = (slot + 1) & mask)
    if (others_[slot].code_point == code_point) return others_[slot].id;
  return -1;
}

}  // namespace trireme
