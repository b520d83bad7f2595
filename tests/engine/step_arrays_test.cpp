#include "engine/step_arrays.h"

#include <doctest/doctest.h>

#include <vector>

#include "device/cpu_device.h"

using namespace trireme;

namespace {

// Two rows of a prompt, and one that decodes.
StepBatch fill(StepArrays& arrays, std::vector<int32_t> first_table, int32_t token) {
  arrays.begin(3, 2);
  arrays.add_span(2, 40, first_table);
  arrays.add_row(token, 40, 32 * 7 + 8);
  arrays.add_row(token + 1, 41, 32 * 7 + 9);
  arrays.add_span(1, 5, std::vector<int32_t>{9});
  arrays.add_row(token + 2, 5, 32 * 9 + 5);
  arrays.send();
  return arrays.for_device();
}

}  // namespace

TEST_CASE("a step's rows, and the spans of its sequences with their tables") {
  CpuDevice device(1, {});
  StepArrays arrays(device, 4, 3, 5);
  const StepBatch batch = fill(arrays, {3, 7}, 100);
  CHECK(std::vector(batch.tokens.begin(), batch.tokens.end()) == std::vector<int32_t>{100, 101, 102});
  CHECK(std::vector(batch.angles.begin(), batch.angles.end()) == std::vector<int32_t>{40, 41, 5});
  CHECK(std::vector(batch.slots.begin(), batch.slots.end()) == std::vector<int64_t>{232, 233, 293});
  REQUIRE(batch.spans.size() == 2);
  CHECK(batch.spans[0].first_row == 0);
  CHECK(batch.spans[0].rows == 2);
  CHECK(batch.spans[0].first_position == 40);
  CHECK(batch.spans[0].block_table[0] == 3);
  CHECK(batch.spans[0].block_table[1] == 7);
  CHECK(batch.spans[1].first_row == 2);
  CHECK(batch.spans[1].block_table[0] == 9);
  CHECK(arrays.tokens_for_host().data() == batch.tokens.data());  // a CPU's operations work where the host does
}

TEST_CASE("steps of as many rows and sequences have their arrays at the same places, however long the tables") {
  CpuDevice device(1, {});
  StepArrays arrays(device, 4, 3, 5);
  const StepBatch one = fill(arrays, {3, 7}, 100), other = fill(arrays, {3, 7, 8, 1, 2}, 200);
  CHECK(one.tokens.data() == other.tokens.data());
  CHECK(one.angles.data() == other.angles.data());
  CHECK(one.slots.data() == other.slots.data());
  CHECK(one.spans.data() == other.spans.data());
  CHECK(other.spans[0].block_table[4] == 2);
  CHECK(other.spans[1].block_table[0] == 9);
}

TEST_CASE("the fullest step fills its memory and no more") {
  CpuDevice device(1, {});
  constexpr int64_t kRows = 3, kSequences = 3, kBlocks = 2;
  StepArrays arrays(device, kRows, kSequences, kBlocks);
  arrays.begin(kRows, kSequences);
  for (int32_t i = 0; i < kSequences; i++) {
    arrays.add_span(1, 63, std::vector<int32_t>{2 * i, 2 * i + 1});
    arrays.add_row(i, 63, 64 * i + 63);
  }
  const StepBatch batch = arrays.for_device();
  const auto* begin = reinterpret_cast<const std::byte*>(batch.slots.data());
  const auto* end = reinterpret_cast<const std::byte*>(batch.spans.back().block_table + kBlocks);
  CHECK(end - begin == StepArrays::bytes(kRows, kSequences, kBlocks));
  CHECK(batch.spans.back().block_table[1] == 5);
}
