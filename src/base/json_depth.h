#pragma once

#include <algorithm>
#include <string_view>

namespace trireme {

// How deep objects and arrays of a JSON text are nested, without parsing it; of damaged text some number. Copies and
// prints of a parsed value go as deep on the stack: what may be hostile is measured before it is parsed.
inline int json_depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); i++) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') i++;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
  return deepest;
}

}  // namespace trireme
