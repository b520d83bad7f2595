#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/json_field.h"

namespace trireme {

// Token texts, as the file writes them, and their ids. Ids may have holes. No id has two texts, but for a byte's: Gemma
// gives the tab the id of <0x09>.
class Vocabulary {
 public:
  static constexpr int32_t max_id = (1 << 22) - 1;  // the largest published vocabulary has 2^18 ids

  explicit Vocabulary(const JsonField& vocab);  // {"text": id, ...} or, for Unigram, [["text", score], ...]

  // A token beside the vocabulary. Its text may be known already, then with the same id.
  void add(const std::string& text, int32_t id, const JsonField& where);

  int32_t find(std::string_view text) const;           // -1: none
  int32_t find_in_model(std::string_view text) const;  // those of the model alone
  bool has(int32_t id) const { return id >= 0 && id < size() && used_[static_cast<size_t>(id)]; }
  int32_t size() const { return static_cast<int32_t>(texts_.size()); }  // highest id + 1
  const std::string& text(int32_t id) const;                            // empty for a hole or an id out of range

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Ids = std::unordered_map<std::string, int32_t, Hash, std::equal_to<>>;
  const Ids& ids() const { return ids_; }  // of all texts, in no order

 private:
  Ids ids_;
  std::vector<std::string> texts_;  // [highest id + 1]
  std::vector<bool> used_;          // [highest id + 1]
  std::vector<bool> in_model_;      // [highest id of the model + 1]
};

}  // namespace trireme
