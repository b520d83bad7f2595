#include "checkpoint/block_type.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "kernels/packed_matrix.h"

using namespace trireme;

namespace {

std::vector<std::byte> bytes_of(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes.push_back(std::byte(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

const BlockType* type_named(const std::string& name) {
  for (uint32_t id = 0; id < 64; id++)
    if (const BlockType* type = find_block_type(id); type && type->name == name) return type;
  return nullptr;
}

// A block as the kernels have it in the end: split, packed in this mode's form, read value by value.
std::vector<float> values_of(const BlockType& type, const std::vector<std::byte>& block, bool exact) {
  const WeightFormat& f = type.format;
  std::vector<std::byte> codes(static_cast<size_t>(f.row_bytes(type.columns))), scales(64), minimums(64);
  type.split(block.data(), 1, codes.data(), scales.data(), f.has_minimum ? minimums.data() : nullptr);
  StoredBlock stored{f, 1, type.columns, type.columns, codes.data(), scales.data(), minimums.data()};
  PackedView view = packed_form(f, exact ? Numerics::exact : Numerics::standard);
  view.n = 1, view.k = type.columns;
  Buffer memory(static_cast<size_t>(packed_bytes(view)), "test");
  view.data = memory.data();
  pack_block(stored, view, 0, 0);
  std::vector<float> values;
  for (int64_t k = 0; k < type.columns; k++) values.push_back(packed_value(view, 0, k));
  return values;
}

bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

}  // namespace

// block_golden.txt is made by make_block_golden.py.
TEST_CASE("every block becomes the FP32 values that ggml makes of it, bit by bit, in both modes") {
  std::ifstream golden(BLOCK_GOLDEN);
  std::map<std::string, int> blocks;
  for (std::string name, block, values; golden >> name >> block >> values; blocks[name]++) {
    CAPTURE(name);
    CAPTURE(blocks[name]);
    const BlockType* type = type_named(name);
    REQUIRE(type);
    REQUIRE(block.size() == 2 * static_cast<size_t>(type->bytes));
    std::vector<std::byte> raw = bytes_of(values);
    REQUIRE(raw.size() == 4 * static_cast<size_t>(type->columns));
    for (bool exact : {true, false}) {
      std::vector<float> seen = values_of(*type, bytes_of(block), exact);
      for (size_t i = 0; i < seen.size(); i++) {
        float expected;
        std::memcpy(&expected, raw.data() + 4 * i, 4);
        CAPTURE(i);
        REQUIRE(same(seen[i], expected));
      }
    }
  }
  CHECK(blocks.size() == 13);
  for (const auto& [name, count] : blocks) CHECK(count == 9);
}

TEST_CASE("every quantized type becomes a format that a checkpoint may hold") {
  int quantized = 0;
  for (uint32_t id = 0; id < 64; id++) {
    const BlockType* type = find_block_type(id);
    if (!type || !type->format.quantized()) continue;
    const WeightFormat& f = type->format;
    CAPTURE(type->name);
    CHECK((f.bits == 4 || f.bits == 8));
    CHECK((f.group >= 16 && f.group <= 128 && type->columns % f.group == 0));
    CHECK((f.has_minimum ? f.zero == 0 : f.zero == 1 << (f.bits - 1)));
    quantized++;
  }
  CHECK(quantized == 13);
}

TEST_CASE("codes meet the integer products as they are, with the scales that their type needs") {
  auto form = [](const char* name) { return packed_form(type_named(name)->format, Numerics::standard); };
  for (const char* name : {"Q4_0", "Q4_1", "Q2_K", "Q3_K", "Q4_K"}) CHECK(form(name).form == PackedForm::q4);
  for (const char* name : {"Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "IQ4_XS", "Q5_K", "Q6_K", "Q8_K"})
    CHECK(form(name).form == PackedForm::q8);
  for (const char* name : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"})
    CHECK(form(name).scale_type == DType::f16);
  for (const char* name : {"Q4_K", "Q5_K", "Q8_K", "IQ4_XS"}) CHECK(form(name).scale_columns == 32);
  for (const char* name : {"Q2_K", "Q3_K", "Q6_K"}) CHECK(form(name).scale_columns == 16);
}
