#include "text/byte_level.h"

#include <cstdint>

#include "text/utf8.h"

namespace trireme {
namespace {

constexpr std::array<int16_t, 256 + 68> make_byte_of_letter() {  // 68 bytes are not printable
  std::array<int16_t, 256 + 68> bytes{};
  bytes.fill(-1);
  for (size_t byte = 0; byte < 256; ++byte) bytes[byte_alphabet[byte]] = static_cast<int16_t>(byte);
  return bytes;
}
constexpr std::array<int16_t, 256 + 68> byte_of_letter = make_byte_of_letter();

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) append_utf8(token, byte_alphabet[static_cast<unsigned char>(byte)]);
  return token;
}

std::string from_byte_alphabet(std::string_view token) {
  std::string bytes;
  for (size_t position = 0; position < token.size();) {
    const char32_t code_point = next_code_point(token, position);
    const int byte = code_point < byte_of_letter.size() ? byte_of_letter[code_point] : -1;
    if (byte < 0) return std::string(token);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
    if (digit < 0) return -1;
    byte = byte * 16 + digit;
  }
  return byte;
}

}  // namespace trireme
