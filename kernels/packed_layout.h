#pragma once

#include "base/dtype.h"
#include "kernels/packed_matrix.h"

namespace trireme {

// Where a value stands inside a packed matrix: the layouts of packed_matrix.h as arithmetic, for packing, for the
// reference and for single values.
inline constexpr int kWidePanel = 64;     // outputs of an f32 or bf16 panel
inline constexpr int kGroupPanel = 32;    // outputs of a quantized panel
inline constexpr int kGroupColumns = 32;  // columns that share a packed scale

inline int64_t f32_index(const PackedView& w, int64_t n, int64_t k) {
  return (n / kWidePanel * w.k + k) * kWidePanel + n % kWidePanel;
}
inline int64_t bf16_index(const PackedView& w, int64_t n, int64_t k) {
  return (n / kWidePanel * ((w.k + 1) / 2) + k / 2) * (2 * kWidePanel) + n % kWidePanel * 2 + k % 2;
}

inline int64_t code_bytes(PackedForm form) { return kGroupPanel * kGroupColumns / (form == PackedForm::q4 ? 2 : 1); }
inline int64_t group_bytes(PackedForm form, bool has_minimum) {
  return code_bytes(form) + kGroupPanel * 2 * (has_minimum ? 2 : 1);
}
inline std::byte* group_data(const PackedView& w, int64_t n, int64_t k) {
  int64_t groups = (w.k + kGroupColumns - 1) / kGroupColumns;
  return w.data + (n / kGroupPanel * groups + k / kGroupColumns) * group_bytes(w.form, w.has_minimum);
}

// The byte of column `i` of a group for output `lane`: four columns make a step; two steps share a byte in q4.
inline int64_t code_offset(PackedForm form, int lane, int i) {
  int step = form == PackedForm::q4 ? i / 8 : i / 4;
  return (step * kGroupPanel + lane) * 4 + i % 4;
}
inline int nibble_shift(int i) { return i / 4 % 2 * 4; }

inline int packed_code(PackedForm form, const std::byte* group, int lane, int i) {
  int byte = std::to_integer<int>(group[code_offset(form, lane, i)]);
  return form == PackedForm::q4 ? byte >> nibble_shift(i) & 15 : byte;
}

inline F16* group_scales(const PackedView& w, std::byte* group) {
  return reinterpret_cast<F16*>(group + code_bytes(w.form));
}
inline const F16* group_scales(const PackedView& w, const std::byte* group) {
  return reinterpret_cast<const F16*>(group + code_bytes(w.form));
}
inline F16* group_minimums(const PackedView& w, std::byte* group) { return group_scales(w, group) + kGroupPanel; }
inline const F16* group_minimums(const PackedView& w, const std::byte* group) {
  return group_scales(w, group) + kGroupPanel;
}

}  // namespace trireme
