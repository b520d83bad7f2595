#include "base/math.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

namespace trireme::testing {

namespace {
double relative(double seen, double exact) {
  return exact == 0 ? std::fabs(seen) : std::fabs(seen - exact) / std::fabs(exact);
}
}  // namespace

TEST_CASE("exp, log and pow are within 1e-14 of libm's") {
  double worst = 0;
  for (double x = -700; x <= 700; x += 0.317) worst = std::max(worst, relative(exact_exp(x), std::exp(x)));
  for (double x = 1e-300; x < 1e300; x *= 1.7) worst = std::max(worst, relative(exact_log(x), std::log(x)));
  for (double x = 0.5; x < 2; x += 0.00117) worst = std::max(worst, relative(exact_log(x), std::log(x)));
  for (double p = -1; p <= 1; p += 0.013) worst = std::max(worst, relative(exact_pow(10000, p), std::pow(10000, p)));
  CHECK(worst < 1e-14);
}

TEST_CASE("sine and cosine are within 1e-14 up to a million radians") {
  double worst = 0;
  for (double x = -10; x < 1e6; x = x < 10 ? x + 0.0137 : x * 1.0013) {
    double sine = 0, cosine = 0;
    exact_sin_cos(x, &sine, &cosine);
    worst = std::max({worst, std::fabs(sine - std::sin(x)), std::fabs(cosine - std::cos(x))});
  }
  CHECK(worst < 1e-14);
}

TEST_CASE("sine and cosine at the axes") {
  double sine = 1, cosine = 0;
  exact_sin_cos(0, &sine, &cosine);
  CHECK(sine == 0);
  CHECK(cosine == 1);
}

}  // namespace trireme::testing
