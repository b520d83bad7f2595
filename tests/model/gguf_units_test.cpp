#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "checkpoint/gguf.h"
#include "checkpoint/index.h"
#include "model/source_units.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

constexpr int64_t kRows = 6, kColumns = 1280;  // five super-blocks

// Any bytes make a block; these are all different from their neighbours'.
std::string block_bytes(const BlockType& type) {
  std::string bytes;
  uint64_t state = type.id + 1;
  for (int64_t i = 0; i < kRows * kColumns / type.columns * type.bytes; i++) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    bytes.push_back(static_cast<char>(state >> 56));
  }
  return bytes;
}

// The tensor's parts, every row split at once.
std::vector<std::byte> whole(const BlockType& type, const std::string& bytes, int part) {
  std::vector<std::byte> parts[3];
  for (std::vector<std::byte>& p : parts) p.resize(static_cast<size_t>(kRows * kColumns) * 4);
  type.split(reinterpret_cast<const std::byte*>(bytes.data()), kRows * kColumns / type.columns, parts[0].data(),
             parts[1].data(), parts[2].data());
  return parts[part];
}

TensorInfo cut(const BlockType& type, UnitAxis axis, int64_t unit) {
  TensorInfo t;
  t.format = type.format, t.rows = kRows, t.columns = kColumns, t.axis = axis;
  t.unit_rows = axis == UnitAxis::rows ? unit : kRows;
  t.unit_columns = axis == UnitAxis::columns ? unit : kColumns;
  int64_t side = axis == UnitAxis::rows ? kRows : axis == UnitAxis::columns ? kColumns : unit;
  t.units = static_cast<int>((side + unit - 1) / unit);
  return t;
}

void check_units(const Gguf& gguf, const BlockType& type, const std::string& bytes, const TensorInfo& t,
                 int at_a_time) {
  const GgufTensor& from = gguf.tensors()[0];
  const SourceTensor source{from.name,   std::string(type.name), from.type, from.rows, from.columns, from.file,
                            from.offset, from.row_bytes};
  TensorPlan plan;
  plan.info = t;
  plan.slices = {{&source, 0}};
  SourceUnits units(plan);
  for (int part = 0; part < 3; part++) {
    int64_t unit_row = static_cast<int64_t>(unit_bytes(t, part)) / t.unit_rows;  // bytes
    if (unit_row == 0) continue;
    const std::vector<std::byte> all = whole(type, bytes, part);
    int64_t whole_row = unit_row * kColumns / t.unit_columns;
    for (int begin = 0; begin < t.units; begin += at_a_time) {
      UnitRange range{begin, std::min(begin + at_a_time, t.units)};
      const std::byte* seen = units.read(range, {}).parts[part].data();
      for (int u = range.begin; u < range.end; u++)
        for (int64_t r = 0; r < t.unit_rows; r++, seen += unit_row) {
          int64_t row = r + (t.axis == UnitAxis::rows ? u * t.unit_rows : 0);
          int64_t first = t.axis == UnitAxis::columns ? u * unit_row : 0;  // byte in the whole row
          int64_t there = row < kRows ? std::min(unit_row, whole_row - first) : 0;
          REQUIRE(std::memcmp(seen, all.data() + std::min(row, kRows - 1) * whole_row + first,
                              static_cast<size_t>(there)) == 0);
          REQUIRE(std::all_of(seen + there, seen + unit_row, [](std::byte b) { return b == std::byte{0}; }));
        }
    }
  }
}

}  // namespace

TEST_CASE("units end at borders of groups, wherever the source's blocks end") {
  TempFolder folder;
  int types = 0;
  for (uint32_t id = 0; id < 64; id++) {
    const BlockType* type = find_block_type(id);
    if (!type) continue;
    CAPTURE(type->name);
    const std::string bytes = block_bytes(*type);
    write_file(folder / "a.gguf", GgufWriter().tensor("t", {kColumns, kRows}, id, bytes).build());
    Gguf gguf(folder / "a.gguf");
    for (int at_a_time : {1, 2, 100}) {
      check_units(gguf, *type, bytes, cut(*type, UnitAxis::rows, 4), at_a_time);
      check_units(gguf, *type, bytes, cut(*type, UnitAxis::none, kRows), at_a_time);
      for (int64_t unit : {128, 384, 896})  // columns: the last unit is whole, or short
        check_units(gguf, *type, bytes, cut(*type, UnitAxis::columns, unit), at_a_time);
      if (type->format.group <= 32) check_units(gguf, *type, bytes, cut(*type, UnitAxis::columns, 96), at_a_time);
    }
    types++;
  }
  CHECK(types == 16);
}
