#include "text/merge_table.h"

#include <fmt/core.h>

#include <bit>
#include <nlohmann/json.hpp>

#include "text/mixed_bits.h"

namespace trireme {
namespace {

constexpr size_t max_merges = 1 << 23;  // published files have fewer than 2^20

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
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

}  // namespace

MergeTable::MergeTable(const JsonField& merges, std::string_view prefix, const Vocabulary& vocabulary) {
  const nlohmann::json& list = merges.array();
  if (list.size() > max_merges)
    merges.damaged(fmt::format("{} merges", list.size()), fmt::format("at most {}", max_merges));
  slots_.resize(std::bit_ceil(2 * list.size() + 1));
  uint32_t rank = 0;
  for (const nlohmann::json& value : list) {
    const JsonField merge(value, fmt::format("{}[{}]", merges.path(), rank));
    const auto [left, right] = read_merge(merge, value);
    const auto id_of = [&](const std::string& token) {
      const int32_t id = vocabulary.find_in_model(token);
      if (id < 0) merge.damaged(token, "a token of the vocabulary");
      return id;
    };
    if (right.size() < prefix.size()) merge.damaged(right, fmt::format("a token that begins with {}", prefix));
    insert({pair_of(id_of(left), id_of(right)), rank++, id_of(left + right.substr(prefix.size()))});
  }
}

void MergeTable::insert(const Merge& merge) {
  const size_t mask = slots_.size() - 1;
  size_t slot = mixed_bits(merge.pair) & mask;
  while (slots_[slot].id >= 0 && slots_[slot].pair != merge.pair) slot = (slot + 1) & mask;
  slots_[slot] = merge;  // of two equal merges the later counts, as in tokenizers
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t slot = mixed_bits(pair) & mask; slots_[slot].id >= 0; slot = (slot + 1) & mask)
    if (slots_[slot].pair == pair) return &slots_[slot];
  return nullptr;
}

}  // namespace trireme
