#include "base/printable.h"

#include "base/utf8.h"

namespace trireme {

namespace {

// Of a well-formed sequence.
bool is_harmful(std::string_view c) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(c[i]); };
  if (c.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (c.size() == 2) return byte(0) == 0xc2 && byte(1) < 0xa0;  // U+0080 to U+009F
  if (c.size() != 3 || byte(0) != 0xe2) return false;
  if (byte(1) == 0x80) return byte(2) >= 0xa8 && byte(2) <= 0xae;  // U+2028 to U+202E
  return byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9;    // U+2066 to U+2069
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length_at(text, i);
    const std::string_view c = text.substr(i, length == 0 ? 1 : length);
    if (c == "\n" || c == "\t" || c == "\r")
      shown += ' ';
    else if (length == 0 || is_harmful(c))
      shown += '?';
    else
      shown += c;
    i += c.size();
  }
  return shown;
}

}  // namespace trireme
