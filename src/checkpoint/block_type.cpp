#include "checkpoint/block_type.h"

#include <fmt/core.h>

#include <cstring>

namespace trireme {

namespace {

template <int bytes>
void copy_values(const std::byte* source, int64_t blocks, std::byte* values, std::byte*, std::byte*) {
  std::memcpy(values, source, static_cast<size_t>(blocks * bytes));
}

constexpr WeightFormat plain(DType type) { return {.type = type}; }
// Codes of `bits` with a zero, or with minimums.
constexpr WeightFormat signed_codes(DType scales, int bits, int group) {
  return {.type = scales, .bits = bits, .group = group, .zero = 1 << (bits - 1)};
}
constexpr WeightFormat with_minimums(DType scales, int bits, int group) {
  return {.type = scales, .bits = bits, .group = group, .has_minimum = true};
}

constexpr BlockType kBlockTypes[] = {
    {0, "F32", 1, 4, plain(DType::f32), copy_values<4>},
    {1, "F16", 1, 2, plain(DType::f16), copy_values<2>},
    {30, "BF16", 1, 2, plain(DType::bf16), copy_values<2>},
    {8, "Q8_0", 32, 34, signed_codes(DType::f16, 8, 32), split_q8_0},
    {2, "Q4_0", 32, 18, signed_codes(DType::f16, 4, 32), split_q4_0},
    {3, "Q4_1", 32, 20, with_minimums(DType::f16, 4, 32), split_q4_1},
    {6, "Q5_0", 32, 22, signed_codes(DType::f16, 8, 32), split_q5_0},
    {7, "Q5_1", 32, 24, with_minimums(DType::f16, 8, 32), split_q5_1},
    {10, "Q2_K", 256, 84, with_minimums(DType::f32, 4, 16), split_q2_k},
    {11, "Q3_K", 256, 110, signed_codes(DType::f32, 4, 16), split_q3_k},
    {12, "Q4_K", 256, 144, with_minimums(DType::f32, 4, 32), split_q4_k},
    {13, "Q5_K", 256, 176, with_minimums(DType::f32, 8, 32), split_q5_k},
    {14, "Q6_K", 256, 210, signed_codes(DType::f32, 8, 16), split_q6_k},
    {15, "Q8_K", 256, 292, signed_codes(DType::f32, 8, 128), split_q8_k},
    {20, "IQ4_NL", 32, 18, signed_codes(DType::f16, 8, 32), split_iq4_nl},
    {23, "IQ4_XS", 256, 136, signed_codes(DType::f32, 8, 32), split_iq4_xs},
};

// Names of ggml's types by id, for error texts; empty: removed from ggml.
constexpr std::string_view kGgmlNames[] = {
    "F32",   "F16",    "Q4_0",  "Q4_1", "",     "",        "Q5_0",   "Q5_1",    "Q8_0",  "Q8_1",   "Q2_K",
    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S",
    "IQ2_S", "IQ4_XS", "I8",    "I16",  "I32",  "I64",     "F64",    "IQ1_M",   "BF16",  "",       "",
    "",      "TQ1_0",  "TQ2_0", "",     "",     "",        "MXFP4",  "NVFP4",   "Q1_0"};

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
