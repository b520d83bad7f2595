#include "kernels/packed_matrix.h"

#include <algorithm>
#include <cmath>

#include "kernels/packed_layout.h"

namespace trireme {

namespace {

constexpr int kBlockColumns = 32;  // columns decoded at once: a group, and one or two cache lines of a stored row

float scale_value(DType type, const std::byte* p, int64_t i) {
  switch (type) {
    case DType::f32:
      return reinterpret_cast<const float*>(p)[i];
    case DType::f16:
      return to_float(reinterpret_cast<const F16*>(p)[i]);
    case DType::bf16:
      return to_float(reinterpret_cast<const BF16*>(p)[i]);
    case DType::u8:
      break;
  }
  return 0;
}

// An FP32 decoding of a row of e4m3.
void decode_e4m3(const StoredBlock& b, int64_t row, int64_t column, int count, float* out) {
  const std::byte* codes = b.values + row * b.stored_columns + column;
  const int64_t first = row * (b.stored_columns / b.format.group);
  for (int i = 0; i < count; i++)
    out[i] = to_float(E4M3{std::to_integer<uint8_t>(codes[i])}) *
             scale_value(DType::f32, b.scales, first + (column + i) / b.format.group);
}

// Codes of `count` consecutive columns; the first is even.
void unpack_codes(const StoredBlock& b, int64_t row, int64_t column, int count, uint8_t* codes) {
  const std::byte* stored = b.values + row * b.format.row_bytes(b.stored_columns) + b.format.row_bytes(column);
  for (int i = 0; i < count; i++)
    codes[i] = b.format.bits == 8 ? std::to_integer<uint8_t>(stored[i])
                                  : static_cast<uint8_t>(std::to_integer<int>(stored[i / 2]) >> (i % 2 * 4) & 15);
}

// value = code * scale + minimum, or (code - zero) * scale: two FP32 roundings at most, in this order.
void decode_row(const StoredBlock& b, int64_t row, int64_t column, int count, float* out) {
  const WeightFormat& f = b.format;
  if (!f.quantized()) {
    for (int i = 0; i < count; i++) out[i] = scale_value(f.type, b.values, row * b.stored_columns + column + i);
    return;
  }
  if (f.e4m3) return decode_e4m3(b, row, column, count, out);
  uint8_t codes[kBlockColumns];
  unpack_codes(b, row, column, count, codes);
  int64_t row_groups = row * (b.stored_columns / f.group);
  for (int i = 0; i < count;) {
    int64_t in_row = (column + i) / f.group, g = row_groups + in_row;
    int end = static_cast<int>(std::min<int64_t>(count, (in_row + 1) * f.group - column));
    float scale = scale_value(f.type, b.scales, g), minimum = f.has_minimum ? scale_value(f.type, b.minimums, g) : 0;
    for (; i < end; i++)
      out[i] = f.has_minimum ? static_cast<float>(codes[i]) * scale + minimum
                             : static_cast<float>(codes[i] - f.zero) * scale;
  }
}

void pack_f32(const StoredBlock& b, const PackedView& w, int64_t row, int64_t column, int count, int64_t n, int64_t k) {
  float values[kBlockColumns];
  decode_row(b, row, column, count, values);
  float* out = reinterpret_cast<float*>(w.data) + f32_index(w, n, k);
  for (int i = 0; i < count; i++) out[i * kWidePanel] = values[i];
}

void pack_f16(const StoredBlock& b, const PackedView& w, int64_t row, int64_t column, int count, int64_t n, int64_t k) {
  const F16* values = reinterpret_cast<const F16*>(b.values) + row * b.stored_columns + column;
  for (int i = 0; i < count; i++) f16_at(w, n, k + i) = values[i];
}

void pack_bf16(const StoredBlock& b, const PackedView& w, int64_t row, int64_t column, int count, int64_t n,
               int64_t k) {
  const BF16* values = reinterpret_cast<const BF16*>(b.values) + row * b.stored_columns + column;
  if (w.form == PackedForm::bf16_rows) {
    std::copy_n(values, count, &bf16_at(w, n, k));
    return;
  }
  BF16* out = reinterpret_cast<BF16*>(w.data);
  for (int i = 0; i < count; i++) out[pair_index(w, n, k + i)] = values[i];
}

// A NaN among the codes makes their scale NaN: loops that multiply need not know that code.
void pack_e4m3(const StoredBlock& b, const PackedView& w, int64_t row, int64_t column, int count, int64_t n,
               int64_t k) {
  const std::byte* codes = b.values + row * b.stored_columns + column;
  const float* scales = reinterpret_cast<const float*>(b.scales) + row * (b.stored_columns / b.format.group);
  for (int i = 0; i < count; i++) {
    float& scale = e4m3_scale(w, n, k + i);
    if ((column + i) % b.format.group == 0) scale = scales[(column + i) / b.format.group];
    E4M3& code = e4m3_code(w, n, k + i) = E4M3{std::to_integer<uint8_t>(codes[i])};
    if (std::isnan(to_float(code))) scale = to_float(code);
  }
}

// Scales or minimums of a group of 32 columns, from the block's groups of 16, 32 or more.
void pack_values(const StoredBlock& b, const std::byte* values, const PackedView& w, GroupValue what, int64_t row,
                 int64_t column, int count, std::byte* group, int lane) {
  for (int i = 0; i < count; i += w.scale_columns) {
    const int64_t g = row * (b.stored_columns / b.format.group) + (column + i) / b.format.group;
    std::byte* at = group + value_offset(w, what, lane, i);
    if (w.scale_type == DType::f16)
      *reinterpret_cast<F16*>(at) = reinterpret_cast<const F16*>(values)[g];
    else
      *reinterpret_cast<float*>(at) = scale_value(b.format.type, values, g);
  }
}

void pack_group(const StoredBlock& b, const PackedView& w, int64_t row, int64_t column, int count, int64_t n,
                int64_t k) {
  uint8_t codes[kGroupColumns] = {};
  unpack_codes(b, row, column, count, codes);
  std::byte* group = group_data(w, n, k);
  int lane = static_cast<int>(n % kGroupPanel);
  for (int i = 0; i < kGroupColumns; i++) {
    std::byte& out = group[code_offset(w.form, lane, i)];
    if (w.form == PackedForm::q8)
      out = std::byte{codes[i]};
    else if (nibble_shift(i) == 0)
      out = static_cast<std::byte>(codes[i] | codes[i + 4] << 4);
  }
  pack_values(b, b.scales, w, GroupValue::scale, row, column, count, group, lane);
  if (w.has_minimum) pack_values(b, b.minimums, w, GroupValue::minimum, row, column, count, group, lane);
}

int64_t panels(const PackedView& w) { return (w.n + panel_outputs(w.form) - 1) / panel_outputs(w.form); }

// Bytes of a panel of k columns: of its values, then of what stands behind all of them.
std::array<int64_t, 2> sections(const PackedView& w, int64_t k) {
  switch (w.form) {
    case PackedForm::f32:
      return {k * kWidePanel * 4, 0};
    case PackedForm::f16:
      return {k * kWidePanel * 2, 0};
    case PackedForm::bf16:
    case PackedForm::f16_pairs:
      return {(k + 1) / 2 * kWidePanel * 4, 0};
    case PackedForm::e4m3:
    case PackedForm::e4m3_groups:
      return {e4m3_code_bytes(w.form, k), e4m3_scale_bytes(w, k)};
    case PackedForm::bf16_rows:
      return {bf16_row(k) * 2, 0};
    case PackedForm::q8:
    case PackedForm::q4:
      break;
  }
  return {(k + kGroupColumns - 1) / kGroupColumns * group_bytes(w), 0};
}

auto packer_of(PackedForm form) {
  switch (form) {
    case PackedForm::f32:
      return pack_f32;
    case PackedForm::f16:
    case PackedForm::f16_pairs:
      return pack_f16;
    case PackedForm::bf16:
    case PackedForm::bf16_rows:
      return pack_bf16;
    case PackedForm::e4m3:
    case PackedForm::e4m3_groups:
      return pack_e4m3;
    case PackedForm::q8:
    case PackedForm::q4:
      break;
  }
  return pack_group;
}

}  // namespace

PackedView packed_form(const WeightFormat& format, Packing packing) {
  const bool exact = packing.numerics == Numerics::exact;
  if (!format.quantized() && format.type == DType::f16)
    return {.form = packing.inputs.f16 && !exact ? PackedForm::f16_pairs : PackedForm::f16};
  if (!exact && !format.quantized() && format.type == DType::bf16)
    return {.form = packing.numerics == Numerics::fast ? PackedForm::bf16_rows : PackedForm::bf16};
  if (!exact && format.e4m3)
    return {.form = packing.inputs.e4m3 ? PackedForm::e4m3_groups : PackedForm::e4m3,
            .scale_type = DType::f32,
            .scale_columns = format.group};
  const bool zero_known = format.zero == 0 || format.zero == 8 || format.zero == 128;
  const bool whole_groups = format.group == 16 || format.group % kGroupColumns == 0;
  if (exact || !format.quantized() || !zero_known || !whole_groups) return {};
  const bool halves = format.type == DType::f16 && format.group != 16;
  return {.form = format.bits == 4 ? PackedForm::q4 : PackedForm::q8,
          .has_minimum = format.has_minimum,
          .zero = format.zero,
          .scale_type = halves ? DType::f16 : DType::f32,
          .scale_columns = std::min(format.group, kGroupColumns)};
}

int64_t packed_bytes(const PackedView& w) { return panels(w) * (sections(w, w.k)[0] + sections(w, w.k)[1]); }

int64_t packed_panel(const PackedView& w, int64_t n) { return n - n % panel_outputs(w.form); }
bool packed_border_n(const PackedView& w, int64_t n) { return n % panel_outputs(w.form) == 0; }
bool can_gate(const PackedView& w, int team) {
  if (w.form == PackedForm::bf16_rows || w.n % 2 != 0 || !packed_border_n(w, w.n / 2)) return false;
  const auto most = [team](int64_t items) { return (items + team - 1) / team; };
  return 2 * most(panels(w) / 2) <= most(panels(w));
}
bool packed_border_k(const PackedView& w, int64_t k) {
  switch (w.form) {
    case PackedForm::f32:
    case PackedForm::f16:
      return true;
    case PackedForm::bf16:
    case PackedForm::f16_pairs:
      return k % 2 == 0;
    case PackedForm::e4m3:
      return k % 2 == 0 && k % w.scale_columns == 0;
    case PackedForm::e4m3_groups:
      return k % kGroupColumns == 0 && k % w.scale_columns == 0;
    case PackedForm::bf16_rows:
      return k == bf16_row(k);
    case PackedForm::q8:
    case PackedForm::q4:
      break;
  }
  return k % kGroupColumns == 0;
}

std::array<PackedRuns, 2> packed_runs(const PackedView& part, const PackedView& whole, int64_t n0, int64_t k0) {
  const auto from = sections(part, part.k), to = sections(whole, whole.k), before = sections(whole, k0);
  const int64_t from_panel = from[0] + from[1], to_panel = to[0] + to[1],
                first = n0 / panel_outputs(whole.form) * to_panel;
  if (part.k == whole.k) return {{{.to = first, .bytes = panels(part) * to_panel, .count = 1}, {}}};
  return {{{0, first + before[0], from[0], from_panel, to_panel, panels(part)},
           {from[0], first + to[0] + before[1], from[1], from_panel, to_panel, from[1] > 0 ? panels(part) : 0}}};
}

void pack_block(const StoredBlock& block, const PackedView& w, int64_t n0, int64_t k0) {
  const auto pack = packer_of(w.form);
  // A strip of rows and a run of columns at a time, so that the lines they are scattered over stay in the cache.
  for (int64_t strip = 0; strip < block.rows; strip += kWidePanel)
    for (int64_t column = 0; column < block.columns; column += kBlockColumns)
      for (int64_t row = strip; row < std::min<int64_t>(block.rows, strip + kWidePanel); row++) {
        int count = static_cast<int>(std::min<int64_t>(kBlockColumns, block.columns - column));
        pack(block, w, row, column, count, n0 + row, k0 + column);
      }
}

float packed_value(const PackedView& w, int64_t n, int64_t k) { return value_at(w, n, k); }

}  // namespace trireme
