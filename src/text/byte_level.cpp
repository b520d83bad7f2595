#include "text/byte_level.h"

#include <algorithm>

#include "text/utf8.h"

namespace trireme {

std::string to_byte_alphabet(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) append_utf8(token, byte_alphabet[static_cast<unsigned char>(byte)]);
  return token;
}

std::string from_byte_alphabet(std::string_view token) {
  std::string bytes;
  for (size_t position = 0; position < token.size();) {
    const char32_t code_point = next_code_point(token, position);
    const auto found = std::find(byte_alphabet.begin(), byte_alphabet.end(), code_point);
    if (found == byte_alphabet.end()) return std::string(token);
    bytes += static_cast<char>(found - byte_alphabet.begin());
  }
  return bytes;
}

}  // namespace trireme
