#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trireme {

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";  // U+FFFD

// What stands at the front of some bytes: a character, an ill-formed sequence (a maximal subpart, counted as Rust,
// Python and WHATWG do), or a character that the bytes end before.
struct Utf8Step {
  enum class Kind { character, ill_formed, unfinished };
  Kind kind;
  size_t size;          // in bytes, at least 1
  char32_t code_point;  // of a character
};

Utf8Step utf8_step(std::string_view bytes);  // bytes is not empty

bool is_utf8(std::string_view bytes);

// Appends bytes to out, each ill-formed sequence as U+FFFD. Leaves an unfinished character at the end and returns how
// many bytes it took.
size_t append_lossy(std::string& out, std::string_view bytes);

// The whole of it: an unfinished character becomes U+FFFD, too.
std::string lossy_utf8(std::string_view bytes);

// These two expect UTF-8 that is valid.
char32_t next_code_point(std::string_view text, size_t& position);  // moves position past it
size_t code_point_start(std::string_view text, size_t end);         // of the code point that ends at `end` > 0

void append_utf8(std::string& out, char32_t code_point);

}  // namespace trireme
