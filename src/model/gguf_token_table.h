#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/gguf.h"

namespace trireme {

// The token table of a GGUF file, checked: as many types as tokens, no token twice.
class GgufTokenTable {
 public:
  enum class Type : int64_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

  explicit GgufTokenTable(const Gguf& gguf);  // which must outlive it

  size_t size() const { return tokens_.size(); }
  Type type(size_t id) const { return types_ ? static_cast<Type>((*types_)[id]) : Type::normal; }
  const std::string& content(size_t id) const { return tokens_[id]; }
  std::string quoted(const std::string& text) const;  // as JSON; refuses what is not UTF-8

  // Parts of a tokenizer.json. strips_right: tokens that take the white space after them.
  std::string added_tokens(bool unknown_is_special, bool strips_right) const;
  std::string vocabulary(const std::vector<std::pair<std::string, size_t>>& more) const;

 private:
  const std::string& path_;
  const std::vector<std::string>& tokens_;
  const std::vector<int64_t>* types_;
};

}  // namespace trireme
