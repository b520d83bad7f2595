#include "checkpoint/block_split.h"

#include <cstring>

namespace trireme {

namespace {

// 32 codes in 16 bytes: columns 0 ... 15 in the low nibbles, 16 ... 31 in the high ones.
int nibble(const std::byte* source, int column) {
  return std::to_integer<int>(source[column % 16]) >> (column / 16 * 4) & 15;
}

// Ours pair neighbours.
void split_nibbles(const std::byte* source, std::byte* codes) {
  for (int i = 0; i < 16; i++) codes[i] = std::byte(nibble(source, 2 * i) | nibble(source, 2 * i + 1) << 4);
}

// { 32 fifth bits; 16 bytes of nibbles }
void split_five_bits(const std::byte* source, int offset, std::byte* codes) {
  uint32_t high;
  std::memcpy(&high, source, 4);
  for (int i = 0; i < 32; i++)
    codes[i] = std::byte((nibble(source + 4, i) | static_cast<int>(high >> i & 1) << 4) + offset);
}

}  // namespace

// { FP16 scale; 16 bytes of codes }: (code - 8) * scale
void split_q4_0(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte*) {
  for (int64_t i = 0; i < blocks; i++, source += 18, codes += 16, scales += 2) {
    std::memcpy(scales, source, 2);
    split_nibbles(source + 2, codes);
  }
}

// { FP16 scale; FP16 minimum; 16 bytes of codes }: code * scale + minimum
void split_q4_1(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  for (int64_t i = 0; i < blocks; i++, source += 20, codes += 16, scales += 2, minimums += 2) {
    std::memcpy(scales, source, 2);
    std::memcpy(minimums, source + 2, 2);
    split_nibbles(source + 4, codes);
  }
}

// { FP16 scale; 4 + 16 bytes of codes }: (code - 16) * scale
void split_q5_0(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte*) {
  for (int64_t i = 0; i < blocks; i++, source += 22, codes += 32, scales += 2) {
    std::memcpy(scales, source, 2);
    split_five_bits(source + 2, 128 - 16, codes);
  }
}

// { FP16 scale; FP16 minimum; 4 + 16 bytes of codes }: code * scale + minimum
void split_q5_1(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  for (int64_t i = 0; i < blocks; i++, source += 24, codes += 32, scales += 2, minimums += 2) {
    std::memcpy(scales, source, 2);
    std::memcpy(minimums, source + 2, 2);
    split_five_bits(source + 4, 0, codes);
  }
}

// { FP16 scale; 32 signed bytes }
void split_q8_0(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte*) {
  for (int64_t i = 0; i < blocks; i++, source += 34, codes += 32, scales += 2) {
    std::memcpy(scales, source, 2);
    for (int j = 0; j < 32; j++) codes[j] = source[2 + j] ^ std::byte{0x80};
  }
}

// { FP16 scale; 16 bytes of codes }: table[code] * scale
void split_iq4_nl(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte*) {
  for (int64_t i = 0; i < blocks; i++, source += 18, codes += 32, scales += 2) {
    std::memcpy(scales, source, 2);
    for (int j = 0; j < 32; j++) codes[j] = std::byte(kNonLinear[nibble(source + 2, j)] + 128);
  }
}

}  // namespace trireme
