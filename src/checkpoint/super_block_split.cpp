#include <cstring>

#include "base/dtype.h"
#include "checkpoint/block_split.h"

namespace trireme {

namespace {

constexpr int kColumns = 256;

// One super-block, come apart: a code a byte, scales and minimums of its groups.
struct SuperBlock {
  uint8_t codes[kColumns];
  float scales[16], minimums[16];
};

int byte_at(const std::byte* p, int i) { return std::to_integer<int>(p[i]); }
float half_at(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return to_float(F16{bits});
}

// Fields of two bits: 128 columns in 32 bytes, columns 32 apart in one byte.
int two_bits(const std::byte* p, int column) {
  return byte_at(p, column / 128 * 32 + column % 32) >> (column % 128 / 32 * 2) & 3;
}
// Fields of one bit: 256 columns in 32 bytes, columns 32 apart in one byte.
int one_bit(const std::byte* p, int column) { return byte_at(p, column % 32) >> (column / 32) & 1; }
// Nibbles: runs of `run` columns in the low ones, then as many in the high ones of the same bytes.
int four_bits(const std::byte* p, int column, int run) {
  return byte_at(p, column / (2 * run) * run + column % run) >> (column / run % 2 * 4) & 15;
}

// { 16 bytes: scale and minimum of a group of 16, 4 bits each; 64 bytes of codes; FP16 d, dmin }
void take_q2_k(const std::byte* source, SuperBlock& b) {
  float d = half_at(source + 80), dmin = half_at(source + 82);
  for (int g = 0; g < 16; g++) {
    b.scales[g] = d * static_cast<float>(byte_at(source, g) & 15);
    b.minimums[g] = -(dmin * static_cast<float>(byte_at(source, g) >> 4));
  }
  for (int c = 0; c < kColumns; c++) b.codes[c] = static_cast<uint8_t>(two_bits(source + 16, c));
}

// { 32 bytes of third bits; 64 bytes of low bits; 16 scales of 6 bits in 12 bytes, 32 higher; FP16 d }
void take_q3_k(const std::byte* source, SuperBlock& b) {
  const std::byte* packed = source + 96;
  float d = half_at(source + 108);
  for (int g = 0; g < 16; g++) {
    int low = byte_at(packed, g % 8) >> (g / 8 * 4) & 15, high = byte_at(packed, 8 + g % 4) >> (g / 4 * 2) & 3;
    b.scales[g] = d * static_cast<float>((low | high << 4) - 32);
  }
  for (int c = 0; c < kColumns; c++)
    b.codes[c] = static_cast<uint8_t>((two_bits(source + 32, c) | one_bit(source, c) << 2) - 4 + 8);
}

// { FP16 d, dmin; 8 scales and 8 minimums of 6 bits in 12 bytes }: of groups of 32
void take_six_bit_scales(const std::byte* source, SuperBlock& b) {
  const std::byte* packed = source + 4;
  float d = half_at(source), dmin = half_at(source + 2);
  for (int g = 0; g < 8; g++) {
    int scale = byte_at(packed, g) & 63, minimum = g < 4 ? byte_at(packed, g + 4) & 63 : 0;
    if (g >= 4) {
      scale = (byte_at(packed, g + 4) & 15) | byte_at(packed, g - 4) >> 6 << 4;
      minimum = byte_at(packed, g + 4) >> 4 | byte_at(packed, g) >> 6 << 4;
    }
    b.scales[g] = d * static_cast<float>(scale);
    b.minimums[g] = -(dmin * static_cast<float>(minimum));
  }
}

// { 16 bytes of scales; 128 bytes of codes }
void take_q4_k(const std::byte* source, SuperBlock& b) {
  take_six_bit_scales(source, b);
  for (int c = 0; c < kColumns; c++) b.codes[c] = static_cast<uint8_t>(four_bits(source + 16, c, 32));
}

// { 16 bytes of scales; 32 bytes of fifth bits; 128 bytes of low bits }
void take_q5_k(const std::byte* source, SuperBlock& b) {
  take_six_bit_scales(source, b);
  for (int c = 0; c < kColumns; c++)
    b.codes[c] = static_cast<uint8_t>(four_bits(source + 48, c, 32) | one_bit(source + 16, c) << 4);
}

// { 128 bytes of low bits; 64 bytes of high bits; 16 signed scales; FP16 d }: codes are 32 higher
void take_q6_k(const std::byte* source, SuperBlock& b) {
  float d = half_at(source + 208);
  for (int g = 0; g < 16; g++) b.scales[g] = d * static_cast<float>(static_cast<int8_t>(byte_at(source, 192 + g)));
  for (int c = 0; c < kColumns; c++)
    b.codes[c] = static_cast<uint8_t>((four_bits(source, c, 64) | two_bits(source + 128, c) << 4) - 32 + 128);
}

// { FP32 scale; 256 signed bytes; sums for ggml's products }: two of our groups
void take_q8_k(const std::byte* source, SuperBlock& b) {
  for (int g = 0; g < 2; g++) std::memcpy(&b.scales[g], source, 4);
  for (int c = 0; c < kColumns; c++) b.codes[c] = static_cast<uint8_t>(byte_at(source, 4 + c) ^ 0x80);
}

// { FP16 d; 8 high parts of scales, 2 bits each; 8 low parts, 4 bits each; 128 bytes of codes }: scales are 32 higher
void take_iq4_xs(const std::byte* source, SuperBlock& b) {
  float d = half_at(source);
  for (int g = 0; g < 8; g++) {
    int low = byte_at(source, 4 + g / 2) >> (g % 2 * 4) & 15, high = byte_at(source, 2 + g / 4) >> (g % 4 * 2) & 3;
    b.scales[g] = d * static_cast<float>((low | high << 4) - 32);
  }
  for (int c = 0; c < kColumns; c++) b.codes[c] = static_cast<uint8_t>(kNonLinear[four_bits(source + 8, c, 16)] + 128);
}

template <void (*take)(const std::byte*, SuperBlock&), int source_bytes, int bits, int groups, bool has_minimum>
void split(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  constexpr size_t scale_bytes = groups * sizeof(float);
  for (int64_t i = 0; i < blocks; i++, source += source_bytes, codes += kColumns * bits / 8, scales += scale_bytes) {
    SuperBlock b;
    take(source, b);
    if constexpr (bits == 8)
      std::memcpy(codes, b.codes, kColumns);
    else
      for (int c = 0; c < kColumns; c += 2) codes[c / 2] = std::byte(b.codes[c] | b.codes[c + 1] << 4);
    std::memcpy(scales, b.scales, scale_bytes);
    if constexpr (has_minimum) {
      std::memcpy(minimums, b.minimums, scale_bytes);
      minimums += scale_bytes;
    }
  }
}

}  // namespace

void split_q2_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  split<take_q2_k, 84, 4, 16, true>(source, blocks, codes, scales, minimums);
}
void split_q3_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  split<take_q3_k, 110, 4, 16, false>(source, blocks, codes, scales, minimums);
}
void split_q4_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  split<take_q4_k, 144, 4, 8, true>(source, blocks, codes, scales, minimums);
}
void split_q5_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  split<take_q5_k, 176, 8, 8, true>(source, blocks, codes, scales, minimums);
}
void split_q6_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  split<take_q6_k, 210, 8, 16, false>(source, blocks, codes, scales, minimums);
}
void split_q8_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  split<take_q8_k, 292, 8, 2, false>(source, blocks, codes, scales, minimums);
}
void split_iq4_xs(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums) {
  split<take_iq4_xs, 136, 8, 8, false>(source, blocks, codes, scales, minimums);
}

}  // namespace trireme
