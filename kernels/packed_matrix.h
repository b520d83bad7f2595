#pragma once

#include <cstddef>
#include <cstdint>

#include "base/weight_format.h"

namespace trireme {

// Weights as the products read them: panels of consecutive outputs (n), the contraction (k) running inside a panel, one
// aligned stream. n is padded to whole panels with zeros, k to pairs (bf16) or to groups of 32 (quantized); a unit's
// columns are a multiple of both but for the last unit, so padding stands only at the end of k.
//   f32   [n / 64][k][64] FP32
//   bf16  [n / 64][k / 2][64][2] BF16
//   q8    [n / 32][k / 32] of { [8][32][4] codes;            [32] FP16 scales; [32] FP16 minimums if has_minimum }
//   q4    [n / 32][k / 32] of { [4][32][4] bytes, low nibble = even k step; [32] scales; [32] minimums likewise }
enum class PackedForm : uint8_t { f32, bf16, q8, q4 };

struct PackedView {
  PackedForm form = PackedForm::f32;
  bool has_minimum = false;   // quantized: value = code * scale + minimum; else (code - zero) * scale
  int zero = 0;               // 0, 8 or 128
  int64_t n = 0;              // outputs
  int64_t k = 0;              // contraction
  std::byte* data = nullptr;  // 64-byte aligned, packed_bytes() long; a reader may prefetch past its end
};

// `exact` takes every format to f32; `standard` keeps what a product exists for (bf16, q4 and q8 with groups of a
// multiple of 32 columns and FP16 scales) and takes the rest to f32. Never rounds a value.
PackedForm packed_form(const WeightFormat& format, bool exact);
int64_t packed_bytes(PackedForm form, bool has_minimum, int64_t n, int64_t k);
inline int64_t packed_bytes(const PackedView& w) { return packed_bytes(w.form, w.has_minimum, w.n, w.k); }

// A rectangle of a matrix as a checkpoint stores it, row-major.
struct StoredBlock {
  WeightFormat format;
  int64_t rows = 0;
  int64_t columns = 0;                  // to take; a multiple of format.group unless the matrix ends there
  int64_t stored_columns = 0;           // from a row to the next, >= columns, a multiple of format.group
  const std::byte* values = nullptr;    // [rows, stored_columns] values or codes
  const std::byte* scales = nullptr;    // [rows, stored_columns / group]
  const std::byte* minimums = nullptr;  // likewise
};

// Writes the block at outputs [n0, n0 + rows) and contraction [k0, k0 + columns) of w, whose memory began as zeros.
// Calls for different rectangles may run at once when they do not share a panel's group. Throws never; the sizes must
// have been checked.
void pack_block(const StoredBlock& block, const PackedView& w, int64_t n0, int64_t k0);

// One value, decoded exactly to FP32: for embedding rows and tests.
float packed_value(const PackedView& w, int64_t n, int64_t k);

}  // namespace trireme
