#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "checkpoint/gguf.h"

namespace trireme {

// The metadata keys "ARCHITECTURE.*" of a GGUF file: typed reads, and what was not read in the end. Throws
// Error(bad_data) naming file and key. Belongs to the Gguf it reads.
class GgufKeys {
 public:
  GgufKeys(const Gguf& gguf, const std::string& architecture) : gguf_(gguf), prefix_(architecture + ".") {}

  const Gguf& gguf() const { return gguf_; }

  template <typename T>
  std::optional<T> find(const char* key) {
    const T* value = gguf_.find<T>(full(key));
    return value ? std::optional<T>(*value) : std::nullopt;
  }
  template <typename T>
  const T& get(const char* key) {
    return gguf_.get<T>(full(key));
  }
  const GgufValue* find_value(const char* key) {  // of whatever type
    auto found = gguf_.metadata().find(full(key));
    return found == gguf_.metadata().end() ? nullptr : &found->second;
  }
  // A feature that exists elsewhere and not here: absent, or with the one value that asks for nothing.
  void only(const char* key, const GgufValue& neutral) {
    const GgufValue* value = find_value(key);
    if (value && *value != neutral) refuse(key, "asks for a feature that this version does not support");
  }
  void without_effect(const char* key) { full(key); }
  // Nothing may be ignored in silence.
  void check_rest() const {
    for (const auto& [key, value] : gguf_.metadata())
      if (key.starts_with(prefix_) && !known_.contains(key))
        fail(ExitCode::bad_data,
             "{}: the metadata key {} is not known to this version, and ignoring it could change the results",
             gguf_.path(), key);
  }
  [[noreturn]] void refuse(const char* key, const std::string& why) const {
    fail(ExitCode::bad_data, "{}: the metadata key {}{} {}", gguf_.path(), prefix_, key, why);
  }

 private:
  const std::string& full(const char* key) { return *known_.insert(prefix_ + key).first; }

  const Gguf& gguf_;
  std::string prefix_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace trireme
