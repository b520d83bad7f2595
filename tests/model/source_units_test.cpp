#include "model/source_units.h"

#include <doctest/doctest.h>

#include <cstring>
#include <deque>

#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

// A file of FP32 values 0, 1, 2, ... as one tensor.
struct Counting {
  TempFolder folder;
  std::deque<InputFile> files;
  SourceTensor tensor;
  Counting(int64_t rows, int64_t columns) {
    std::string bytes;
    for (int64_t i = 0; i < rows * columns; i++) {
      const auto value = static_cast<float>(i);
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    files.emplace_back(folder.put("t", bytes));
    tensor = {"t", "F32", find_block_type(0), rows, columns, &files.back(), 0, static_cast<uint64_t>(columns) * 4};
  }
};

// All values that the plan's units hold, unit by unit.
std::vector<float> units_of_plan(const TensorPlan& plan) {
  std::vector<EncodingError> errors(static_cast<size_t>(plan.info.units));
  SourceUnits units(plan);
  std::vector<float> values;
  for (int u = 0; u < plan.info.units; u++) {  // one at a time, whatever the batch
    const auto bytes = units.read({u, u + 1}, errors).parts[0];
    const size_t at = values.size();
    values.resize(at + bytes.size() / 4);
    std::memcpy(values.data() + at, bytes.data(), bytes.size());
  }
  return values;
}

TensorPlan plan_of(const TensorSlot& slot, std::vector<TensorPlan::Slice> slices) {
  TensorPlan plan;
  plan.slot = slot;
  plan.info = tensor_info(slot, WeightFormat{});
  plan.slices = std::move(slices);
  return plan;
}

}  // namespace

TEST_CASE("a slice of a fused tensor is its rows") {
  Counting fused(9, 2);  // q has rows 0 to 4, k 5 and 6, v 7 and 8
  TensorSlot k{.name = "k", .rows = 2, .columns = 2, .axis = UnitAxis::rows, .unit = 1};
  CHECK(units_of_plan(plan_of(k, {{&fused.tensor, 5}})) == std::vector<float>{10, 11, 12, 13});
  TensorSlot padded{.name = "q", .rows = 5, .columns = 2, .axis = UnitAxis::rows, .unit = 3};
  CHECK(units_of_plan(plan_of(padded, {{&fused.tensor, 0}})) == std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0});
}

TEST_CASE("units of experts come from a source each") {
  Counting first(2, 3), second(2, 3);
  TensorSlot gate{.name = "gate", .rows = 4, .columns = 3, .axis = UnitAxis::rows, .unit = 2};
  CHECK(units_of_plan(plan_of(gate, {{&second.tensor, 0}, {&first.tensor, 0}})) ==
        std::vector<float>{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5});
  TensorSlot down{.name = "down", .rows = 2, .columns = 6, .axis = UnitAxis::columns, .unit = 3};
  CHECK(units_of_plan(plan_of(down, {{&first.tensor, 0}, {&second.tensor, 0}})) ==
        std::vector<float>{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5});
  Counting stacked(4, 3);  // [experts 2, rows 2, columns 3] in one tensor, as GGUF has them
  CHECK(units_of_plan(plan_of(down, {{&stacked.tensor, 2}, {&stacked.tensor, 0}})) ==
        std::vector<float>{6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5});
}

TEST_CASE("columns are cut into units, the last one padded") {
  Counting matrix(2, 5);
  TensorSlot down{.name = "down", .rows = 2, .columns = 5, .axis = UnitAxis::columns, .unit = 2};
  CHECK(units_of_plan(plan_of(down, {{&matrix.tensor, 0}})) == std::vector<float>{0, 1, 5, 6, 2, 3, 7, 8, 4, 0, 9, 0});
}

TEST_CASE("an offset is added in FP32, and rotary rows are put in order") {
  Counting norm(1, 4);
  TensorPlan plan = plan_of({.name = "norm", .rows = 1, .columns = 4}, {{&norm.tensor, 0}});
  plan.keep = false, plan.offset = 1;
  CHECK(units_of_plan(plan) == std::vector<float>{1, 2, 3, 4});
  Counting rotary(8, 1);
  plan = plan_of({.name = "q", .rows = 8, .columns = 1, .axis = UnitAxis::rows, .unit = 4}, {{&rotary.tensor, 0}});
  plan.rope_heads = 2;  // pairs (0, 1), (2, 3) of a head become (0, 2), (1, 3)
  CHECK(units_of_plan(plan) == std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7});
}

TEST_CASE("a unit may end inside a block, at the border of a group") {
  // Q8_0 blocks have 32 columns and one group; a made-up type of two groups in a block shows the rest.
  BlockType pair = *find_block_type(8);
  pair.columns = 64, pair.bytes = 68;
  pair.split = [](const std::byte* source, int64_t blocks, std::byte* values, std::byte* scales, std::byte* minimums) {
    find_block_type(8)->split(source, blocks * 2, values, scales, minimums);
  };
  std::string bytes;
  for (int group = 0; group < 4; group++) {
    bytes += std::string("\0\x3c", 2);  // the scale 1
    for (int i = 0; i < 32; i++) bytes += static_cast<char>(group);
  }
  TempFolder folder;
  const InputFile file(folder.put("t", bytes));
  const SourceTensor source{"t", "PAIR", &pair, 1, 128, &file, 0, 136};
  TensorSlot down{.name = "down", .rows = 1, .columns = 128, .axis = UnitAxis::columns, .unit = 96};
  TensorPlan plan = plan_of(down, {{&source, 0}});
  plan.info = tensor_info(down, pair.format);
  SourceUnits units(plan);
  std::vector<EncodingError> errors(2);
  const auto codes = units.read({1, 2}, errors).parts[0];
  CHECK(codes[0] == std::byte{128 + 3});
  CHECK(codes[31] == std::byte{128 + 3});
  CHECK(codes[32] == std::byte{0});  // padding
}

TEST_CASE("experts of one slot may have a type each where they are encoded anew") {
  Counting wide(2, 64);  // F32, twice the bytes of the first expert's
  std::string bytes;
  for (int i = 0; i < 2 * 64; i++) bytes += std::string("\x80\x3f", 2);  // the BF16 value 1
  TempFolder folder;
  const InputFile file(folder.put("t", bytes));
  const SourceTensor narrow{"t", "BF16", find_block_type(30), 2, 64, &file, 0, 128};
  TensorSlot gate{.name = "gate", .rows = 4, .columns = 64, .axis = UnitAxis::rows, .unit = 2};
  TensorPlan plan = plan_of(gate, {{&narrow, 0}, {&wide.tensor, 0}});
  plan.keep = false;
  std::vector<float> expected(128, 1.0f);
  for (int i = 0; i < 128; i++) expected.push_back(static_cast<float>(i));
  CHECK(units_of_plan(plan) == expected);
}
