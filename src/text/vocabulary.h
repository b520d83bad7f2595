#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/json_field.h"

namespace trireme {

// Token texts, as the file writes them, and their ids. Ids may have holes; no id has two texts.
class Vocabulary {
 public:
  static constexpr int32_t max_id = (1 << 24) - 1;  // the largest published vocabulary has 2^18 ids

  explicit Vocabulary(const JsonField& vocab);  // {"text": id, ...}

  // A token beside the vocabulary. Its text may be known already, then with the same id.
  void add(const std::string& text, int32_t id, const JsonField& where);

  int32_t find(std::string_view text) const;                            // -1: none
  int32_t size() const { return static_cast<int32_t>(texts_.size()); }  // highest id + 1
  const std::string& text(int32_t id) const;                            // empty for a hole or an id out of range

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::vector<std::string> texts_;  // [highest id + 1]
  std::vector<bool> used_;          // [highest id + 1]
};

}  // namespace trireme
