#include "model/gguf_units.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "checkpoint/index.h"

namespace trireme {

namespace {

constexpr uint64_t kBatch = uint64_t{32} << 20;  // bytes of a batch of units, where a unit is not larger
constexpr uint64_t kBand = uint64_t{4} << 20;    // bytes of source rows read at once
constexpr uint64_t kWorthSeeking = 4096;         // bytes: from here on only the wanted piece of a row is read

// Bytes of one row's `columns` in a part; columns are whole groups.
uint64_t part_bytes(const WeightFormat& f, int part, int64_t columns) {
  if (part == 0) return static_cast<uint64_t>(f.row_bytes(columns));
  bool there = f.quantized() && (part == 1 || f.has_minimum);
  return there ? static_cast<uint64_t>(columns / f.group * dtype_bytes(f.type)) : 0;
}

}  // namespace

uint64_t stored_bytes(const TensorInfo& t, int units) {
  return (unit_bytes(t, 0) + unit_bytes(t, 1) + unit_bytes(t, 2)) * static_cast<uint64_t>(units);
}

GgufUnits::GgufUnits(const InputFile& file, const GgufTensor& source, const TensorInfo& tensor, int rope_heads)
    : file_(file), source_(source), tensor_(tensor), head_rows_(rope_heads > 0 ? tensor.rows / rope_heads : 0) {
  must(tensor.unit_columns % tensor.format.group == 0, "no border of a unit cuts a group");
  must(head_rows_ == 0 || tensor.unit_rows % head_rows_ == 0, "no border of a unit cuts a head");
  batch_ =
      static_cast<int>(std::clamp<uint64_t>(kBatch / stored_bytes(tensor, 1), 1, static_cast<uint64_t>(tensor.units)));
  memory_ = Buffer(stored_bytes(tensor, batch_), "units to convert");
  band_ = Buffer(std::max(kBand, source.row_bytes), "rows to convert");
  for (int part = 0; part < 3; part++)
    split_[part] = Buffer(std::max<uint64_t>(part_bytes(tensor.format, part, source.columns), 1), "a row to convert");
}

GgufUnits::Box GgufUnits::box_of(UnitRange units) const {
  const TensorInfo& t = tensor_;
  auto clip = [](int unit, int64_t width, int64_t side) { return std::min(unit * width, side); };
  if (t.axis == UnitAxis::rows)
    return {clip(units.begin, t.unit_rows, t.rows), clip(units.end, t.unit_rows, t.rows), 0, t.columns};
  if (t.axis == UnitAxis::columns)
    return {0, t.rows, clip(units.begin, t.unit_columns, t.columns), clip(units.end, t.unit_columns, t.columns)};
  return {0, t.rows, 0, t.columns};
}

// GGUF has the rotary pair (i, i + half) of a head in rows 2 i and 2 i + 1.
int64_t GgufUnits::stored_row(int64_t row) const {
  if (head_rows_ == 0) return row;
  int64_t in_head = row % head_rows_;
  return row - in_head + in_head % 2 * (head_rows_ / 2) + in_head / 2;
}

// source: of the block that holds the box's first column, in this row. Units end at borders of groups, which may lie
// inside a block: so blocks are split whole, and each unit takes its groups.
void GgufUnits::place(int64_t row, const std::byte* source, const Box& box, UnitRange units) {
  const TensorInfo& t = tensor_;
  row = stored_row(row);
  bool by_rows = t.axis == UnitAxis::rows;
  if (by_rows)
    units.begin = static_cast<int>(row / t.unit_rows) - units.begin, units.end = units.begin + 1;
  else
    units = {0, units.size()};
  int64_t unit_row = by_rows ? row % t.unit_rows : row;
  int64_t block_columns = source_.type->columns, column = box.column_begin % block_columns;  // in the split blocks
  source_.type->split(source, (column + box.column_end - box.column_begin + block_columns - 1) / block_columns,
                      split_[0].data(), split_[1].data(), split_[2].data());
  for (int u = units.begin; u < units.end; u++) {  // counted from the batch's first
    int64_t columns =
        std::min(t.unit_columns, by_rows ? t.columns : box.column_end - box.column_begin - u * t.unit_columns);
    for (int part = 0; part < 3; part++) {
      uint64_t bytes = unit_bytes(t, part), row_bytes = bytes / static_cast<uint64_t>(t.unit_rows);
      std::memcpy(
          stored_.parts[part].data() + bytes * static_cast<uint64_t>(u) + row_bytes * static_cast<uint64_t>(unit_row),
          split_[part].data() + part_bytes(t.format, part, column),
          static_cast<size_t>(part_bytes(t.format, part, columns)));
    }
    column += columns;
  }
}

const StoredUnits& GgufUnits::read(UnitRange units) {
  must(units.size() > 0 && units.size() <= batch_, "a batch of units is read at once");
  std::byte* at = memory_.data();
  for (int part = 0; part < 3; part++) {
    size_t bytes = unit_bytes(tensor_, part) * static_cast<uint64_t>(units.size());
    stored_.parts[part] = {at, bytes};
    at += bytes;
  }
  std::memset(memory_.data(), 0, static_cast<size_t>(at - memory_.data()));  // padding

  Box box = box_of(units);
  int64_t block_columns = source_.type->columns;
  auto bytes_of = [&](int64_t blocks) {
    return static_cast<uint64_t>(blocks) * static_cast<uint64_t>(source_.type->bytes);
  };
  uint64_t skip = bytes_of(box.column_begin / block_columns),
           wanted = bytes_of((box.column_end + block_columns - 1) / block_columns) - skip;
  // Whole bands where rows are wanted whole or in crumbs, else piece by piece.
  bool by_piece = wanted < source_.row_bytes && wanted >= kWorthSeeking;
  int64_t band_rows = by_piece ? 1 : static_cast<int64_t>(band_.bytes() / source_.row_bytes);
  for (int64_t row = box.row_begin; row < box.row_end; row += band_rows) {
    int64_t rows = std::min(band_rows, box.row_end - row);
    uint64_t bytes = source_.row_bytes * static_cast<uint64_t>(rows - 1) + wanted;
    file_.read(source_.offset + source_.row_bytes * static_cast<uint64_t>(row) + skip, {band_.data(), bytes},
               source_.name.c_str());
    for (int64_t i = 0; i < rows; i++)
      place(row + i, band_.data() + source_.row_bytes * static_cast<uint64_t>(i), box, units);
  }
  return stored_;
}

}  // namespace trireme
