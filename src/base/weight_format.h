#pragma once

#include <cstdint>
#include <string>

#include "base/dtype.h"

namespace trireme {

// How the values of a weight are stored in a checkpoint, without loss against its source.
//   plain:      FP32, FP16 or BF16 values
//   quantized:  value = (code - zero) * scale            without minimums (Q4_0: zero 8, Q8_0: zero 128)
//               value = code * scale + minimum           with minimums    (Q4_1)
//               codes are unsigned, 4 bits (two a byte, the even column in the low nibble) or 8 bits; scale and minimum
//               stand per row and per `group` consecutive columns.
//   e4m3:      value = code * scale, the code of 8 bits an FP8 E4M3 number and the scale FP32: one a row of a unit, so
//               that `group` is the columns of a unit.
struct WeightFormat {
  DType type = DType::f32;  // of plain values; of scales and minimums when quantized
  int bits = 0;             // 0: plain, else 4 or 8
  int group = 1;            // columns that share a scale: 1 (plain), 16 ... 128; e4m3: those of a unit
  int zero = 0;             // subtracted from every code
  bool has_minimum = false;
  bool e4m3 = false;

  bool quantized() const { return bits != 0; }
  // What borders of units may not cut; scales of e4m3 follow the units instead.
  int unit_group() const { return e4m3 ? 1 : group; }
  // Bytes of `columns` values or codes of one row; columns is a multiple of group, or
  // of e4m3 a unit's.
  int64_t row_bytes(int64_t columns) const { return quantized() ? columns * bits / 8 : columns * dtype_bytes(type); }
  bool operator==(const WeightFormat&) const = default;
};

// "bf16", "q4 group 32 with minimum (f16)", "fp8 e4m3 group 64 (f32)": for inspect and errors.
std::string format_name(const WeightFormat& format);

}  // namespace trireme
