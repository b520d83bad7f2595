#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme {

struct JinjaPlace {
  int line = 1;
  int column = 1;  // in bytes
};

struct JinjaToken {
  enum class Kind { data, output_begin, output_end, block_begin, block_end, name, integer, real, text, symbol, end };
  Kind kind;
  std::string text;  // of a text: without quotes, escapes resolved
  JinjaPlace place;

  bool is(Kind wanted, std::string_view wanted_text) const { return kind == wanted && text == wanted_text; }
};

// Cuts a template into tokens, the last being `end`. White space control is done here: trim_blocks, lstrip_blocks and
// the signs - and + at the tags, with comments and raw blocks resolved. Throws Error(bad_data) with the place.
std::vector<JinjaToken> lex_jinja(std::string_view source);

// Throws Error(bad_data): what is wrong with the template, where.
[[noreturn]] void fail_jinja(JinjaPlace place, std::string_view what);

}  // namespace trireme
