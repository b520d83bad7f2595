#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

// How ggml's quantized blocks come apart into the parts of a WeightFormat: codes, scales, minimums. Each function takes
// `blocks` consecutive blocks and appends to its parts in the order of the columns. Nothing is rounded but the product
// of a super-block's FP16 scale and a group's own integer scale, which ggml's dequantization forms in FP32 too (of all
// types here but Q8_K it is exact: 11 bits times at most 8). `minimums` is null where a format has none.
using BlockSplit = void (*)(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales,
                            std::byte* minimums);

// Blocks of 32 columns, one FP16 scale each. Signed codes are stored 8 (4 bits) or 128 (8 bits) higher.
void split_q4_0(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q4_1(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q5_0(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q5_1(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q8_0(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_iq4_nl(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);

// Super-blocks of 256 columns: groups of 16, 32 or 128 with FP32 scales.
void split_q2_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q3_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q4_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q5_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q6_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_q8_k(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);
void split_iq4_xs(const std::byte* source, int64_t blocks, std::byte* codes, std::byte* scales, std::byte* minimums);

// The 16 values that a 4-bit code of IQ4_NL and IQ4_XS stands for (ggml's kvalues_iq4nl).
inline constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

}  // namespace trireme
