#pragma once

#include "base/dtype.h"
#include "kernels/packed_matrix.h"

namespace trireme {

// Where a value stands inside a packed matrix: the layouts of packed_matrix.h as arithmetic, for packing, for the
// reference and for single values.
inline constexpr int kWidePanel = 64;     // outputs of an f32, f16, f16_pairs, bf16 or e4m3 panel
inline constexpr int kGroupPanel = 32;    // outputs of a quantized or e4m3_groups panel
inline constexpr int kGroupColumns = 32;  // columns of a packed group; 16 or all of them share a scale

// Of f32 and f16.
TRIREME_HD inline int64_t f32_index(const PackedView& w, int64_t n, int64_t k) {
  return (n / kWidePanel * w.k + k) * kWidePanel + n % kWidePanel;
}
// Whether a panel has two columns of an output beside each other, two bytes each.
TRIREME_HD constexpr bool in_pairs(PackedForm form) {
  return form == PackedForm::bf16 || form == PackedForm::f16_pairs;
}
TRIREME_HD inline int64_t pair_index(const PackedView& w, int64_t n, int64_t k) {
  return (n / kWidePanel * ((w.k + 1) / 2) + k / 2) * (2 * kWidePanel) + n % kWidePanel * 2 + k % 2;
}
// Outputs of a panel.
TRIREME_HD constexpr int panel_outputs(PackedForm form) {
  using enum PackedForm;
  const bool wide = form == f32 || form == f16 || in_pairs(form) || form == e4m3;
  return form == PackedForm::bf16_rows ? 1 : wide ? kWidePanel : kGroupPanel;
}
// Columns from a row of bf16_rows to the next.
TRIREME_HD inline int64_t bf16_row(int64_t k) { return (k + 7) / 8 * 8; }
TRIREME_HD inline BF16& bf16_at(const PackedView& w, int64_t n, int64_t k) {
  const int64_t index = w.form == PackedForm::bf16_rows ? n * bf16_row(w.k) + k : pair_index(w, n, k);
  return reinterpret_cast<BF16*>(w.data)[index];
}
TRIREME_HD inline F16& f16_at(const PackedView& w, int64_t n, int64_t k) {
  return reinterpret_cast<F16*>(w.data)[w.form == PackedForm::f16 ? f32_index(w, n, k) : pair_index(w, n, k)];
}

TRIREME_HD inline int64_t code_bytes(PackedForm form) {
  return kGroupPanel * kGroupColumns / (form == PackedForm::q4 ? 2 : 1);
}
// Of the scales of a group of 32 columns: one or two of them for each output.
TRIREME_HD inline int64_t scales_bytes(const PackedView& w) {
  return kGroupPanel * dtype_bytes(w.scale_type) * (kGroupColumns / w.scale_columns);
}
TRIREME_HD inline int64_t group_bytes(const PackedView& w) {
  return code_bytes(w.form) + scales_bytes(w) * (w.has_minimum ? 2 : 1);
}
TRIREME_HD inline std::byte* group_data(const PackedView& w, int64_t n, int64_t k) {
  int64_t groups = (w.k + kGroupColumns - 1) / kGroupColumns;
  return w.data + (n / kGroupPanel * groups + k / kGroupColumns) * group_bytes(w);
}

// The byte of column `i` of a group for output `lane`: four columns make a step; two steps share a byte in q4.
TRIREME_HD inline int64_t code_offset(PackedForm form, int lane, int i) {
  int step = form == PackedForm::q4 ? i / 8 : i / 4;
  return (step * kGroupPanel + lane) * 4 + i % 4;
}
TRIREME_HD inline int nibble_shift(int i) { return i / 4 % 2 * 4; }

TRIREME_HD inline int packed_code(PackedForm form, const std::byte* group, int lane, int i) {
  int byte = std::to_integer<int>(group[code_offset(form, lane, i)]);
  return form == PackedForm::q4 ? byte >> nibble_shift(i) & 15 : byte;
}

// The scale or minimum of output `lane` for column `i` of a group.
enum class GroupValue { scale, minimum };
TRIREME_HD inline int64_t value_offset(const PackedView& w, GroupValue what, int lane, int i) {
  return code_bytes(w.form) + (what == GroupValue::minimum ? scales_bytes(w) : 0) +
         (i / w.scale_columns * kGroupPanel + lane) * dtype_bytes(w.scale_type);
}
TRIREME_HD inline float group_value(const PackedView& w, const std::byte* group, GroupValue what, int lane, int i) {
  const std::byte* at = group + value_offset(w, what, lane, i);
  return w.scale_type == DType::f16 ? to_float(*reinterpret_cast<const F16*>(at)) : *reinterpret_cast<const float*>(at);
}

// A panel of e4m3 or e4m3_groups: its codes, then its scales.
TRIREME_HD constexpr bool is_e4m3(PackedForm form) {
  return form == PackedForm::e4m3 || form == PackedForm::e4m3_groups;
}
TRIREME_HD inline int64_t e4m3_code_bytes(PackedForm form, int64_t k) {
  return form == PackedForm::e4m3 ? (k + 1) / 2 * 2 * kWidePanel
                                  : (k + kGroupColumns - 1) / kGroupColumns * code_bytes(form);
}
TRIREME_HD inline int64_t e4m3_scale_bytes(const PackedView& w, int64_t k) {
  return (k + w.scale_columns - 1) / w.scale_columns * panel_outputs(w.form) * int64_t{sizeof(float)};
}
TRIREME_HD inline std::byte* e4m3_panel_data(const PackedView& w, int64_t n) {
  return w.data + n / panel_outputs(w.form) * (e4m3_code_bytes(w.form, w.k) + e4m3_scale_bytes(w, w.k));
}
TRIREME_HD inline E4M3& e4m3_code(const PackedView& w, int64_t n, int64_t k) {
  const int64_t at = w.form == PackedForm::e4m3 ? k * kWidePanel + n % kWidePanel
                                                : k / kGroupColumns * code_bytes(w.form) +
                                                      code_offset(w.form, static_cast<int>(n % kGroupPanel),
                                                                  static_cast<int>(k % kGroupColumns));
  return reinterpret_cast<E4M3*>(e4m3_panel_data(w, n))[at];
}
TRIREME_HD inline float& e4m3_scale(const PackedView& w, int64_t n, int64_t k) {
  std::byte* scales = e4m3_panel_data(w, n) + e4m3_code_bytes(w.form, w.k);
  return reinterpret_cast<float*>(scales)[k / w.scale_columns * panel_outputs(w.form) + n % panel_outputs(w.form)];
}

// One value, decoded exactly.
TRIREME_HD inline float value_at(const PackedView& w, int64_t n, int64_t k) {
  if (w.form == PackedForm::f32) return reinterpret_cast<const float*>(w.data)[f32_index(w, n, k)];
  if (w.form == PackedForm::f16 || w.form == PackedForm::f16_pairs) return to_float(f16_at(w, n, k));
  if (w.form == PackedForm::bf16 || w.form == PackedForm::bf16_rows) return to_float(bf16_at(w, n, k));
  if (is_e4m3(w.form)) return to_float(e4m3_code(w, n, k)) * e4m3_scale(w, n, k);
  const std::byte* group = group_data(w, n, k);
  const int lane = static_cast<int>(n % kGroupPanel), i = static_cast<int>(k % kGroupColumns);
  const int code = packed_code(w.form, group, lane, i);
  const float scale = group_value(w, group, GroupValue::scale, lane, i);
  if (!w.has_minimum) return static_cast<float>(code - w.zero) * scale;
  return static_cast<float>(code) * scale + group_value(w, group, GroupValue::minimum, lane, i);
}

}  // namespace trireme
