#include "launch/timings.h"

#include <doctest/doctest.h>

namespace trireme {

TEST_CASE("of rounds of the same timings the mean counts, without the shortest and the longest of each") {
  const Timings rounds[] = {{{5, 0}, {1, 8}}, {{1, 0}, {2, 2}}, {{2, 0}, {9, 4}}, {{3, 0}, {3, 3}}, {{100, 0}, {4, 5}}};
  const Timings means = mean_of(rounds);
  REQUIRE(means.size() == 2);
  CHECK(means[0].beside == doctest::Approx((5 + 2 + 3) / 3.0));
  CHECK(means[0].lone == 0);  // never asked for
  CHECK(means[1].beside == doctest::Approx(3));
  CHECK(means[1].lone == doctest::Approx(4));
}

}  // namespace trireme
