#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "checkpoint/weight_source.h"

namespace trireme::testkit {

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
inline float part_value(const WeightFormat& f, std::span<const std::byte> bytes, int64_t i) {
  if (f.type == DType::f32) return load<float>(bytes.data() + 4 * i);
  uint16_t bits = load<uint16_t>(bytes.data() + 2 * i);
  return f.type == DType::f16 ? to_float(F16{bits}) : to_float(BF16{bits});
}

// The tensor as a matrix [rows, columns], decoded as weight_format.h says; checks that padding is zeros.
inline std::vector<float> decode(const WeightSource& checkpoint, const TensorInfo& t) {
  std::vector<float> matrix(static_cast<size_t>(t.rows * t.columns), NAN);
  const WeightFormat& f = t.format;
  for (int unit = 0; unit < t.units; unit++)
    checkpoint.read(
        {{&t, {unit, unit + 1}, [&](auto, auto values, auto scales, auto minimums) {
            for (int64_t r = 0; r < t.unit_rows; r++)
              for (int64_t c = 0; c < t.unit_columns; c++) {
                int64_t at = r * t.unit_columns + c, group = at / f.group;
                int code = f.bits == 8 ? std::to_integer<int>(values[static_cast<size_t>(at)])
                           : f.bits == 4
                               ? std::to_integer<int>(values[static_cast<size_t>(at / 2)]) >> (at % 2 * 4) & 15
                               : 0;
                float x = !f.quantized() ? part_value(f, values, at)
                          : f.e4m3       ? to_float(E4M3{static_cast<uint8_t>(code)}) * part_value(f, scales, group)
                          : f.has_minimum
                              ? static_cast<float>(code) * part_value(f, scales, group) + part_value(f, minimums, group)
                              : static_cast<float>(code - f.zero) * part_value(f, scales, group);
                int64_t row = r + (t.axis == UnitAxis::rows ? unit * t.unit_rows : 0);
                int64_t column = c + (t.axis == UnitAxis::columns ? unit * t.unit_columns : 0);
                if (row < t.rows && column < t.columns)
                  matrix[static_cast<size_t>(row * t.columns + column)] = x;
                else
                  CHECK((x == 0 && code == 0));
              }
          }}});
  return matrix;
}

}  // namespace trireme::testkit
