#pragma once

#include <array>
#include <string>
#include <string_view>

namespace trireme {

// GPT-2's alphabet (Radford et al., 2019, encoder.py): every byte as one printable character, so that a vocabulary of
// arbitrary bytes can be written as text. Printable Latin-1 stands for itself, the rest for U+0100 and following.
constexpr std::array<char32_t, 256> make_byte_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    alphabet[byte] = printable ? byte : next++;
  }
  return alphabet;
}
inline constexpr std::array<char32_t, 256> byte_alphabet = make_byte_alphabet();

std::string to_byte_alphabet(std::string_view bytes);

// The bytes a token stands for; a token with a character outside the alphabet stands for its own UTF-8.
std::string from_byte_alphabet(std::string_view token);

// The byte that a token of the form <0xHH> stands for; -1: it has another form.
int byte_of(std::string_view token);

}  // namespace trireme
