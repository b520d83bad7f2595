#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/text_edit.h"

namespace trireme {

// The `Precompiled` normalizer: SentencePiece's table of replacements, a double-array trie of byte sequences (Aoe,
// 1989, as darts-clone stores it) and the texts that they become.
class Charsmap {
 public:
  // base64: [bytes of the trie: uint32][trie: uint32 each][texts, each ended by a zero]. Throws Error(bad_data).
  explicit Charsmap(const JsonField& base64);

  void apply(TextEdit& edit) const;

 private:
  // What the shortest entry that `text` begins with becomes.
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace trireme
