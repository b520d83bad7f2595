#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace trireme {

// A regular expression of a tokenizer.json, with the meaning Oniguruma gives it there. The expression is foreign and
// may be hostile: its size and the steps and memory of a match are limited. Immutable; safe to share by threads.
class Regex {
 public:
  struct Match {
    size_t begin;
    size_t end;
  };
  // What one thread needs to match; for every Regex.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Regex;
    void* match_data_;
  };

  // where: the field, for messages. Throws Error(bad_data).
  Regex(std::string_view pattern, std::string_view where);
  ~Regex();
  Regex(Regex&& other) noexcept;
  Regex& operator=(Regex&&) = delete;

  // The leftmost match at or after `from`. text is valid UTF-8. Throws Error(bad_data) when the limits are passed.
  std::optional<Match> find(std::string_view text, size_t from, Scratch& scratch) const;

 private:
  std::string where_;
  void* code_ = nullptr;
  void* limits_ = nullptr;
  bool compiled_to_machine_code_ = false;
};

// The same expression in PCRE2's syntax (UTF, UCP, MULTILINE). Throws Error(bad_data) naming what has no equal there.
std::string to_pcre(std::string_view oniguruma, std::string_view where);

}  // namespace trireme
