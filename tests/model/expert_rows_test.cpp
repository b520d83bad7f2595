#include "model/expert_rows.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "device/cpu_device.h"

using namespace trireme;

namespace {

std::vector<int32_t> rows_of(const ExpertRows& rows, int e) {
  std::vector<int32_t> found;
  for (const RowPlace& place : rows.rows_of(e)) found.push_back(place.row);
  return found;
}

}  // namespace

TEST_CASE("a rank lists the rows that chose its experts, and where each one's result will stand") {
  CpuDevice device(1, {});
  ExpertRows rows(device, 4, 2, UnitRange{2, 5});  // experts 2, 3, 4
  const ExpertRows::Choices choices = rows.choices(3);
  const int32_t experts[] = {4, 2, 0, 1, 2, 4};  // the second row's are others'
  const float weights[] = {0.75f, 0.25f, 0.5f, 0.5f, 0.625f, 0.375f};
  std::ranges::copy(experts, choices.experts.begin());
  std::ranges::copy(weights, choices.weights.begin());
  const float x[3] = {};
  rows.fetch(3);
  rows.list(3, x);

  CHECK(rows.source()[0] == x);
  CHECK(rows_of(rows, 0) == std::vector<int32_t>{0, 2});
  CHECK(rows_of(rows, 1).empty());
  CHECK(rows_of(rows, 2) == std::vector<int32_t>{0, 2});
  const std::span<const int32_t> at = rows.assignment();
  CHECK(std::vector(at.begin(), at.end()) == std::vector<int32_t>{0, -1, 2, -1, -1, -1, 1, -1, 3});
  CHECK(rows.weights()[0] == 0.25f);
  CHECK(rows.weights()[2] == 0.75f);
  CHECK(rows.weights()[6] == 0.625f);
  CHECK(rows.weights()[8] == 0.375f);
}

TEST_CASE("lists are made anew for each layer, and rows may all choose the same experts") {
  CpuDevice device(1, {});
  ExpertRows rows(device, 2, 2, UnitRange{0, 2});
  const ExpertRows::Choices choices = rows.choices(2);
  for (int round = 0; round < 2; round++) {
    const int32_t experts[] = {0, 1, 1, 0};
    std::ranges::copy(experts, choices.experts.begin());
    rows.list(2, nullptr);
    CHECK(rows_of(rows, 0) == std::vector<int32_t>{0, 1});
    CHECK(rows_of(rows, 1) == std::vector<int32_t>{0, 1});
  }
  const int32_t one[] = {7, 8};  // of one row, who chose others'
  std::ranges::copy(one, rows.choices(1).experts.begin());
  rows.list(1, nullptr);
  CHECK(rows_of(rows, 0).empty());
  CHECK(rows_of(rows, 1).empty());
  CHECK(rows.assignment().size() == 2);
}
