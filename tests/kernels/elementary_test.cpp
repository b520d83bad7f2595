#include "kernels/cpu/elementary.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "base/math.h"

namespace trireme::testing {

namespace {

// Distance in units of the last place of the exact value's FP32.
double ulps(float seen, double exact) {
  int exponent = std::ilogb(exact);
  return std::fabs(seen - exact) / std::ldexp(1.0, std::max(exponent, -126) - 23);
}

}  // namespace

TEST_CASE("exp is within 2 ulp from the smallest subnormal to the largest number") {
  double worst = 0;
  for (double x = -103.9; x < 88.72; x += 0.00317)
    worst = std::max(worst, ulps(exp_float(static_cast<float>(x)), exact_exp(static_cast<float>(x))));
  CHECK(worst < 2);
}

TEST_CASE("exp at its ends") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  CHECK(exp_float(0.0f) == 1.0f);
  CHECK(exp_float(-0.0f) == 1.0f);
  CHECK(std::bit_cast<uint32_t>(exp_float(-kInfinity)) == 0);
  CHECK(exp_float(-105.0f) == 0.0f);
  CHECK(exp_float(kInfinity) == kInfinity);
  CHECK(exp_float(89.0f) == kInfinity);
  CHECK(std::isnan(exp_float(NAN)));
}

TEST_CASE("log is within 2 ulp") {
  double worst = 0;
  for (float x = 0x1p-126f; x < 3e38f; x *= 1.00037f) worst = std::max(worst, ulps(log_float(x), exact_log(x)));
  CHECK(worst < 2);
  CHECK(log_float(1.0f) == 0.0f);
}

TEST_CASE("the noise of every possible uniform number is finite") {
  for (uint32_t i : {0u, 1u, 2u, 1u << 22, (1u << 23) - 2, (1u << 23) - 1}) {
    float u = (static_cast<float>(i) + 0.5f) * 0x1p-23f;
    CHECK(std::isfinite(-log_float(-log_float(u))));
    CHECK(ulps(log_float(u), exact_log(u)) < 2);
  }
}

}  // namespace trireme::testing
