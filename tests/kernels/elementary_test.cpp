#include "kernels/elementary.h"

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

TEST_CASE("tanh is within 2 ulp over its whole range, odd, and keeps zeros, tiny numbers and NaN") {
  double worst = 0;
  for (float x = 0x1p-20f; x < 12; x *= 1.00013f) {
    double twice = exact_exp(2.0 * x), exact = x < 1e-3f ? x - double{x} * x * x / 3 : (twice - 1) / (twice + 1);
    worst = std::max(worst, ulps(tanh_float(x), exact));
    CHECK(tanh_float(-x) == -tanh_float(x));
  }
  CHECK(worst < 2);
  for (float tiny : {0.0f, 0x1p-149f, 0x1p-126f, 1e-30f, 1e-5f}) {
    CHECK(std::bit_cast<uint32_t>(tanh_float(tiny)) == std::bit_cast<uint32_t>(tiny));
    CHECK(std::bit_cast<uint32_t>(tanh_float(-tiny)) == std::bit_cast<uint32_t>(-tiny));
  }
  for (float large : {9.1f, 50.0f, 3e38f, std::numeric_limits<float>::infinity()}) {
    CHECK(tanh_float(large) == 1);
    CHECK(tanh_float(-large) == -1);
  }
  CHECK(std::isnan(tanh_float(NAN)));
}

TEST_CASE("tanh does not fall where its two forms meet") {
  float before = std::nextafter(kTanhSmall, 0.0f);
  CHECK(tanh_float(before) <= tanh_float(kTanhSmall));
  CHECK(tanh_float(kTanhSmall) - tanh_float(before) < 0x1p-22f);
}

TEST_CASE("silu and gelu_tanh are within 1e-6 of their FP64 values, relative, and end like 0 and x") {
  double worst_silu = 0, worst_gelu = 0;
  for (double at = -8; at < 20; at += 0.00171) {
    float x = static_cast<float>(at);
    double u = std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * double{x} * x * x);
    double exact_silu = x / (1 + exact_exp(-double{x})), exact_gelu = x / (1 + exact_exp(-2 * u));
    CHECK(std::fabs(exact_gelu - x / 2.0 * (1 + std::tanh(u))) < 1e-12);  // the usual form
    worst_silu = std::max(worst_silu, std::fabs(silu(x) / exact_silu - 1));
    // e^-2u carries the rounding of 2u, which is up to 60 here.
    worst_gelu =
        std::max(worst_gelu, std::fabs(gelu_tanh(x) - exact_gelu) / std::fabs(exact_gelu) / std::max(1.0, -2 * u));
  }
  CHECK(worst_silu < 1e-6);
  CHECK(worst_gelu < 1e-6);
  for (float large : {50.0f, 1e15f, 3e38f}) {
    CHECK(silu(large) == large);
    CHECK(gelu_tanh(large) == large);
    CHECK(gelu_tanh(-large) == 0);
    CHECK(std::fabs(silu(-large)) < 1e-19f);
  }
  CHECK(gelu_tanh(0) == 0);
  CHECK(std::isnan(gelu_tanh(NAN)));
}

TEST_CASE("the noise of every possible uniform number is finite") {
  for (uint32_t i : {0u, 1u, 2u, 1u << 22, (1u << 23) - 2, (1u << 23) - 1}) {
    float u = (static_cast<float>(i) + 0.5f) * 0x1p-23f;
    CHECK(std::isfinite(-log_float(-log_float(u))));
    CHECK(ulps(log_float(u), exact_log(u)) < 2);
  }
}

TEST_CASE("exp of weights: 1e-5 off at most, 1 at 0, e^-80 for all below, a NaN stays one") {
  double worst = 0;
  for (float x = -80; x <= 0; x += 1.0f / 4096)
    worst = std::max(worst, std::fabs(exp_weight(x) / std::exp(static_cast<double>(x)) - 1));
  CHECK(worst < 1e-5);  // the fit, and x log2(e), whose FP32 is off by 2^-18 and 2^-18 of 115
  CHECK(exp_weight(0.0f) == 1);
  CHECK(exp_weight(-0.0f) == 1);
  CHECK(exp_weight(-81.0f) == exp_weight(-80.0f));
  CHECK(exp_weight(-INFINITY) == exp_weight(-80.0f));
  CHECK(std::isnan(exp_weight(NAN)));
}

}  // namespace trireme::testing
