#include "checkpoint/block_type.h"

#include <fmt/format.h>

#include <cstring>

namespace trireme {

namespace {

template <int bytes>
void copy_values(const std::byte* source, int64_t blocks, std::byte* values, std::byte*, std::byte*) {
  std::memcpy(values, source, static_cast<size_t>(blocks * bytes));
}

// A block holds 16 bytes: columns 0 ... 15 in the low nibbles, 16 ... 31 in the high ones. Ours pair neighbours.
void split_nibbles(const std::byte* source, std::byte* codes) {
  auto nibble = [source](int column) {
    return column < 16 ? source[column] & std::byte{15} : source[column - 16] >> 4;
  };
  for (int i = 0; i < 16; i++) codes[i] = nibble(2 * i) | (nibble(2 * i + 1) << 4);
}

// { FP16 scale; 16 bytes of codes }: (code - 8) * scale
void split_q4_0(const std::byte* source, int64_t blocks, std::byte* values, std::byte* scales, std::byte*) {
  for (int64_t i = 0; i < blocks; i++, source += 18, values += 16, scales += 2) {
    std::memcpy(scales, source, 2);
    split_nibbles(source + 2, values);
  }
}

// { FP16 scale; FP16 minimum; 16 bytes of codes }: code * scale + minimum
void split_q4_1(const std::byte* source, int64_t blocks, std::byte* values, std::byte* scales, std::byte* minimums) {
  for (int64_t i = 0; i < blocks; i++, source += 20, values += 16, scales += 2, minimums += 2) {
    std::memcpy(scales, source, 2);
    std::memcpy(minimums, source + 2, 2);
    split_nibbles(source + 4, values);
  }
}

// { FP16 scale; 32 signed bytes }: our codes are unsigned, 128 higher
void split_q8_0(const std::byte* source, int64_t blocks, std::byte* values, std::byte* scales, std::byte*) {
  for (int64_t i = 0; i < blocks; i++, source += 34, values += 32, scales += 2) {
    std::memcpy(scales, source, 2);
    for (int j = 0; j < 32; j++) values[j] = source[2 + j] ^ std::byte{0x80};
  }
}

constexpr WeightFormat plain(DType type) { return {.type = type}; }
constexpr WeightFormat quantized(int bits, int zero, bool has_minimum) {
  return {.type = DType::f16, .bits = bits, .group = 32, .zero = zero, .has_minimum = has_minimum};
}

constexpr BlockType kBlockTypes[] = {
    {0, "F32", 1, 4, plain(DType::f32), copy_values<4>},     {1, "F16", 1, 2, plain(DType::f16), copy_values<2>},
    {30, "BF16", 1, 2, plain(DType::bf16), copy_values<2>},  {8, "Q8_0", 32, 34, quantized(8, 128, false), split_q8_0},
    {2, "Q4_0", 32, 18, quantized(4, 8, false), split_q4_0}, {3, "Q4_1", 32, 20, quantized(4, 0, true), split_q4_1},
};

// Names of ggml's types by id, for error texts; empty: removed from ggml.
constexpr std::string_view kGgmlNames[] = {
    "F32",    "F16",   "Q4_0",  "Q4_1",   "",      "",      "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
    "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
    "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
    "BF16",   "",      "",      "",       "TQ1_0", "TQ2_0", "",        "",       "",        "MXFP4"};

}  // namespace

const BlockType* find_block_type(uint32_t id) {
  for (const BlockType& type : kBlockTypes)
    if (type.id == id) return &type;
  return nullptr;
}

std::string block_type_name(uint32_t id) {
  if (id < std::size(kGgmlNames) && !kGgmlNames[id].empty()) return std::string(kGgmlNames[id]);
  return fmt::format("type {}", id);
}

std::string supported_block_types() {
  std::string names;
  for (const BlockType& type : kBlockTypes) names += fmt::format("{}{}", names.empty() ? "" : ", ", type.name);
  return names;
}

}  // namespace trireme
