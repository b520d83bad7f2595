#include "model/source_units.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "checkpoint/index.h"

namespace trireme {

namespace {

constexpr uint64_t kBatch = uint64_t{32} << 20;  // bytes of a batch of units, where a unit is not larger
constexpr uint64_t kBand = uint64_t{4} << 20;    // bytes of source rows read at once
constexpr uint64_t kWorthSeeking = 4096;         // bytes: from here on only the wanted piece of a row is read

int64_t blocks_of(const BlockType& type, int64_t columns) { return (columns + type.columns - 1) / type.columns; }

}  // namespace

uint64_t stored_bytes(const TensorInfo& t, int units) {
  return (unit_bytes(t, 0) + unit_bytes(t, 1) + unit_bytes(t, 2)) * static_cast<uint64_t>(units);
}

SourceUnits::SourceUnits(const TensorPlan& plan)
    : plan_(plan), tensor_(plan.info), head_rows_(plan.rope_heads > 0 ? plan.info.rows / plan.rope_heads : 0) {
  must(tensor_.unit_columns % tensor_.format.group == 0, "no border of a unit cuts a group");
  must(head_rows_ == 0 || tensor_.unit_rows % head_rows_ == 0, "no border of a unit cuts a head");
  batch_ = static_cast<int>(
      std::clamp<uint64_t>(kBatch / stored_bytes(tensor_, 1), 1, static_cast<uint64_t>(tensor_.units)));
  memory_ = Buffer(stored_bytes(tensor_, batch_), "units to convert");
  uint64_t row_bytes = 0;
  int64_t columns = 0;  // of the longest row, in whole blocks
  for (const TensorPlan::Slice& slice : plan.slices) {
    const SourceTensor& t = *slice.tensor;
    row_bytes = std::max(row_bytes, t.row_bytes);
    columns = std::max(columns, blocks_of(*t.type, t.columns) * t.type->columns);
  }
  band_ = Buffer(std::max(kBand, row_bytes), "rows to convert");
  for (int part = 0; part < 3; part++) {
    uint64_t bytes = 1;  // encoded anew, the slices of one slot may have a type each
    for (const TensorPlan::Slice& slice : plan.slices)
      bytes = std::max(bytes, row_part_bytes(slice.tensor->type->format, part, columns));
    split_[part] = Buffer(bytes, "a row to convert");
  }
  if (!plan.keep) row_ = Buffer(static_cast<size_t>(columns) * sizeof(float), "a row to convert");
}

// One strip for the whole batch, or one for each unit where each has a source of its own.
std::vector<SourceUnits::Strip> SourceUnits::strips_of(UnitRange units) const {
  const TensorInfo& t = tensor_;
  auto clip = [](int unit, int64_t width, int64_t side) { return std::min(unit * width, side); };
  auto strip = [&](const TensorPlan::Slice& slice, UnitRange range, bool alone) {
    Strip s{slice.tensor, slice.first_row, t.rows, 0, 0, t.columns, range};
    if (t.axis == UnitAxis::rows) {
      s.slot_row = clip(range.begin, t.unit_rows, t.rows);
      s.rows = clip(range.end, t.unit_rows, t.rows) - s.slot_row;
      s.first_row += alone ? 0 : s.slot_row;
    }
    if (t.axis == UnitAxis::columns) {
      const int64_t first = clip(range.begin, t.unit_columns, t.columns);
      s.columns = clip(range.end, t.unit_columns, t.columns) - first;
      s.first_column = alone ? 0 : first;
    }
    return s;
  };
  if (plan_.slices.size() == 1) return {strip(plan_.slices.front(), units, false)};
  std::vector<Strip> strips;
  for (int u = units.begin; u < units.end; u++)
    strips.push_back(strip(plan_.slices[static_cast<size_t>(u)], {u, u + 1}, true));
  return strips;
}

// Interleaved sources have the rotary pair (i, i + half) of a head in rows 2 i and 2 i + 1.
int64_t SourceUnits::stored_row(int64_t row) const {
  if (head_rows_ == 0) return row;
  int64_t in_head = row % head_rows_;
  return row - in_head + in_head % 2 * (head_rows_ / 2) + in_head / 2;
}

// Columns [column, column + columns) of the row that was taken apart, to the begin of a unit's row.
void SourceUnits::deliver(int unit, int64_t unit_row, int64_t column, int64_t columns) {
  RowParts<std::byte> to;
  for (int part = 0; part < 3; part++) {
    const uint64_t bytes = unit_bytes(tensor_, part);
    to.parts[part] = stored_.parts[part].data() + bytes * static_cast<uint64_t>(unit - reading_.begin) +
                     bytes / static_cast<uint64_t>(tensor_.unit_rows) * static_cast<uint64_t>(unit_row);
  }
  if (plan_.keep) {
    for (int part = 0; part < 3; part++)
      std::memcpy(to.parts[part], split_[part].data() + row_part_bytes(tensor_.format, part, column),
                  row_part_bytes(tensor_.format, part, columns));
    return;
  }
  const std::span<const float> values(row_.as<float>() + column, static_cast<size_t>(columns));
  if (!encode_row(values, tensor_.format, to, &errors_[static_cast<size_t>(unit)]))
    fail(ExitCode::bad_data,
         "{}: a row of {} has a value that is not finite, which no quantized format holds; convert with --dtype keep",
         plan_.slices.front().tensor->file->path(), plan_.slices.front().tensor->name);
}

// source: of the block that holds the strip's first column. Units end at borders of groups, which may lie inside a
// block: so blocks are taken apart whole, and each unit takes its groups.
void SourceUnits::take_row(const Strip& s, int64_t row, const std::byte* source) {
  const BlockType& type = *s.tensor->type;
  const int64_t skipped = s.first_column % type.columns, blocks = blocks_of(type, skipped + s.columns);
  type.split(source, blocks, split_[0].data(), split_[1].data(), split_[2].data());
  if (!plan_.keep) {
    const std::span<float> values(row_.as<float>(), static_cast<size_t>(blocks * type.columns));
    decode_row(type.format, {{split_[0].data(), split_[1].data(), split_[2].data()}}, values);
    if (plan_.offset != 0)
      for (float& x : values) x += plan_.offset;
  }
  const int64_t slot_row = stored_row(s.slot_row + row);
  if (tensor_.axis != UnitAxis::columns) {
    const auto unit = static_cast<int>(slot_row / tensor_.unit_rows);
    return deliver(unit, slot_row % tensor_.unit_rows, skipped, s.columns);
  }
  for (int u = s.units.begin; u < s.units.end; u++) {
    const int64_t at = (u - s.units.begin) * tensor_.unit_columns;
    deliver(u, slot_row, skipped + at, std::min(tensor_.unit_columns, s.columns - at));
  }
}

void SourceUnits::read_strip(const Strip& s) {
  const SourceTensor& t = *s.tensor;
  const auto block_bytes = static_cast<uint64_t>(t.type->bytes);
  const int64_t first_block = s.first_column / t.type->columns;
  const int64_t blocks = blocks_of(*t.type, s.first_column + s.columns) - first_block;
  const uint64_t skip = static_cast<uint64_t>(first_block) * block_bytes,
                 wanted = static_cast<uint64_t>(blocks) * block_bytes;
  // Whole bands where rows are wanted whole or in crumbs, else piece by piece.
  const bool by_piece = wanted < t.row_bytes && wanted >= kWorthSeeking;
  const int64_t band_rows = by_piece ? 1 : static_cast<int64_t>(band_.bytes() / t.row_bytes);
  for (int64_t row = 0; row < s.rows; row += band_rows) {
    const int64_t rows = std::min(band_rows, s.rows - row);
    const uint64_t bytes = t.row_bytes * static_cast<uint64_t>(rows - 1) + wanted;
    t.file->read(t.offset + t.row_bytes * static_cast<uint64_t>(s.first_row + row) + skip, {band_.data(), bytes},
                 t.name.c_str());
    for (int64_t i = 0; i < rows; i++) take_row(s, row + i, band_.data() + t.row_bytes * static_cast<uint64_t>(i));
  }
}

const StoredUnits& SourceUnits::read(UnitRange units, std::span<EncodingError> errors) {
  must(units.size() > 0 && units.size() <= batch_, "a batch of units is read at once");
  reading_ = units;
  errors_ = errors;
  std::byte* at = memory_.data();
  for (int part = 0; part < 3; part++) {
    size_t bytes = unit_bytes(tensor_, part) * static_cast<uint64_t>(units.size());
    stored_.parts[part] = {at, bytes};
    at += bytes;
  }
  std::memset(memory_.data(), 0, static_cast<size_t>(at - memory_.data()));  // padding
  for (const Strip& strip : strips_of(units)) read_strip(strip);
  return stored_;
}

}  // namespace trireme
