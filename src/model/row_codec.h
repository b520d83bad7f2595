#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/weight_format.h"

namespace trireme {

// Where one row's values or codes, scales and minimums stand; null where the format has no such part.
template <typename Byte>
struct RowParts {
  Byte* parts[3] = {};
};

// Bytes of `columns` of a row in a part (values, scales, minimums); columns are whole groups, or of e4m3 a unit's.
uint64_t row_part_bytes(const WeightFormat& format, int part, int64_t columns);

// FP32 values of whole groups, by the definition of weight_format.h.
void decode_row(const WeightFormat& format, RowParts<const std::byte> from, std::span<float> values);

// What encoding changed, in sums of squares.
struct EncodingError {
  double squares = 0;  // of value - decoded
  double signal = 0;   // of value
};

// Writes FP32 values in a plain format, each rounded to nearest even, or quantized with a group of 32 and FP16 scales:
// 8 bits about zero 128, or 4 bits with minimums. Those of a group are chosen for a small sum of squared errors, alone
// from its own values, so that no layout or number of ranks changes them. e4m3: the row of a unit, whose largest value
// becomes 448, FP8's largest. False: a value to be quantized is not finite.
bool encode_row(std::span<const float> values, const WeightFormat& format, RowParts<std::byte> to,
                EncodingError* error);

inline constexpr int kEncodedGroup = 32;  // columns that share a scale where we quantize
constexpr WeightFormat kInt8{.type = DType::f16, .bits = 8, .group = kEncodedGroup, .zero = 128};
constexpr WeightFormat kInt4{.type = DType::f16, .bits = 4, .group = kEncodedGroup, .has_minimum = true};
constexpr WeightFormat fp8_of_unit(int64_t columns) {
  return {.type = DType::f32, .bits = 8, .group = static_cast<int>(columns), .e4m3 = true};
}

}  // namespace trireme
