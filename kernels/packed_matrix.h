#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/numerics.h"
#include "base/weight_format.h"

namespace trireme {

// Weights as the products read them: panels of consecutive outputs (n), the contraction (k) running inside a panel, one
// aligned stream. n is padded to whole panels with zeros, k to pairs (bf16, f16_pairs) or to groups of 32 (quantized,
// e4m3_groups); a unit's columns are a multiple of both but for the last unit, so padding stands only at the end of k.
//   f32   [n / 64][k][64] FP32
//   f16   [n / 64][k][64] FP16, for products in FP32
//   bf16  [n / 64][k / 2][64][2] BF16
//   f16_pairs  likewise, FP16, for products with FP16 inputs
//   q8    [n / 32][k / 32] of { [8][32][4] codes;                           [g][32] scales; [g][32] minimums if any }
//   q4    [n / 32][k / 32] of { [4][32][4] bytes, low nibble = even k step; [g][32] scales; [g][32] minimums likewise }
//         g = 32 / scale_columns
//   e4m3  [n / 64] of { [k][64] FP8 codes, k padded to pairs; [k / scale_columns][64] FP32 scales }
//   e4m3_groups  [n / 32] of { [k / 32][8][32][4] FP8 codes; [k / scale_columns][32] FP32 scales }
// and no panels, for the products of a library:
//   bf16_rows  [n][k] BF16, k padded to 8 (16 bytes)
enum class PackedForm : uint8_t { f32, f16, f16_pairs, bf16, q8, q4, e4m3, e4m3_groups, bf16_rows };

struct PackedView {
  PackedForm form = PackedForm::f32;
  bool has_minimum = false;       // quantized: value = code * scale + minimum; else (code - zero) * scale
  int zero = 0;                   // 0, 8 or 128
  DType scale_type = DType::f16;  // of quantized: FP16 or FP32, minimums likewise
  int scale_columns = 32;         // that share a scale: 32, or 16 when scale_type is FP32; e4m3: those of a unit
  int64_t n = 0;                  // outputs
  int64_t k = 0;                  // contraction
  std::byte* data = nullptr;      // 64-byte aligned, packed_bytes() long; a reader may prefetch past its end
  int64_t to_next = 0;            // bytes from the matrix of an expert to the next one's, alike in all else

  bool same_form(const PackedView& other) const {
    return form == other.form && has_minimum == other.has_minimum && zero == other.zero &&
           scale_type == other.scale_type && scale_columns == other.scale_columns;
  }
};

// What inputs weights are packed for where a table's kernels are made for them.
struct InputForms {
  bool f16 = false;   // FP16 weights are multiplied by FP16 inputs (PackedForm::f16_pairs)
  bool e4m3 = false;  // FP8 weights by FP8 inputs (PackedForm::e4m3_groups), where they can be
};

// What weights are packed for.
struct Packing {
  Numerics numerics = Numerics::standard;
  InputForms inputs;  // Kernels::inputs

  Packing(Numerics mode, InputForms of_kernels = {}) : numerics(mode), inputs(of_kernels) {}
};

// How a format is packed: a view without sizes and memory. FP16 without FP16 inputs, and in `exact`, is f16, for its
// products have f32's bits. `exact` takes every other format to f32; `standard` keeps what a product exists for (bf16;
// f16_pairs; e4m3, for FP8 inputs in groups; codes with groups of 16 columns or a multiple of 32 and a zero of 0, 8 or
// 128) and takes the rest to f32; `fast` is like standard, with bf16_rows for bf16. Never rounds a value.
PackedView packed_form(const WeightFormat& format, Packing packing);
int64_t packed_bytes(const PackedView& w);

// The first output of the panel that output n stands in.
int64_t packed_panel(const PackedView& w, int64_t n);
// Whether n outputs fill their panels; k columns, from the first on, their pairs and groups: elsewhere stand zeros.
bool packed_border_n(const PackedView& w, int64_t n);
bool packed_border_k(const PackedView& w, int64_t k);
// Whether the outputs' halves lie in panels of their own, so that one may gate the other (GatedMatMul), and a team of
// so many threads shares pairs of panels as evenly as panels.
bool can_gate(const PackedView& w, int team = 1);

// `count` runs of `bytes`, each so many bytes after the one before it.
struct PackedRuns {
  int64_t from = 0, to = 0, bytes = 0, from_stride = 0, to_stride = 0, count = 0;
};
// From where in `part`, packed alone, to where in `whole`: all of it. The part, of the same form, has its first value
// at [n0, k0], both borders, and ends at a border of k or with the whole.
std::array<PackedRuns, 2> packed_runs(const PackedView& part, const PackedView& whole, int64_t n0, int64_t k0);

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
