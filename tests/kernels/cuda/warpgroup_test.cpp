// Products of many rows by warpgroups (wgmma), which only sm_90a has, beside those by warps.
#include <doctest/doctest.h>

#include "fixture.h"
#include "select_cuda.h"

namespace trireme::testing {

TEST_CASE("warpgroups multiply many rows to the bits of warps: odd sizes, tails, roots, units of odd steps") {
  if (!has_warpgroups()) {
    MESSAGE("skipped: this GPU has no warpgroups (sm_90a)");
    return;
  }
  struct Shape {
    int64_t rows, n, k, unit;
    UnitRange units{0, 0};  // empty: all
  };
  const Shape shapes[] = {{33, 1, 16, 16},           {64, 128, 64, 64},
                          {65, 140, 1024, 32},  // all sums that may wait at once
                          {66, 70, 96, 48},     // three steps a unit
                          {130, 97, 160, 32},        {129, 257, 320, 80},
                          {70, 33, 288, 32, {2, 9}}, {40, 35, 62, 20},  // units that begin anywhere
                          {70, 35, 62, 6},           {300, 300, 256, 128}};
  uint32_t seed = 50;
  for (const Shape& s : shapes) {
    const Contraction c = s.units.size() > 0 ? contraction(s.k, s.unit, s.units) : contraction(s.k, s.unit);
    const Weights w = random_weights(plain(DType::bf16), false, s.n, c.total_columns, seed++);
    Source source(seed);
    const auto count = static_cast<size_t>(s.rows * c.total_columns);
    const Rows x =
        encode_rows(w.view.form, seed % 3 ? source.values(count) : source.extremes(count), s.rows, c.total_columns);
    const std::vector<float> by_warps = product(select_kernels("cuda"), x, w, c, 1);
    const std::vector<float> by_warpgroups = product(select_kernels("cuda by warpgroups"), x, w, c, 1);
    CAPTURE(s.rows);
    CAPTURE(s.n);
    CAPTURE(s.k);
    CHECK(same_floats(by_warps.data(), by_warpgroups.data(), by_warps.size()));
  }
}

}  // namespace trireme::testing
