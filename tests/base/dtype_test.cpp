#include "base/dtype.h"

#include <doctest/doctest.h>

#include <cmath>

namespace trireme::testing {

TEST_CASE("bf16 rounds to nearest, ties to even, and keeps NaN and infinity") {
  CHECK(to_bf16(1.0f).bits == 0x3f80);
  CHECK(to_bf16(std::bit_cast<float>(0x3f808000u)).bits == 0x3f80);  // halfway, even below
  CHECK(to_bf16(std::bit_cast<float>(0x3f818000u)).bits == 0x3f82);  // halfway, even above
  CHECK(to_bf16(std::bit_cast<float>(0x3f808001u)).bits == 0x3f81);
  CHECK(to_bf16(3.4e38f).bits == 0x7f80);
  CHECK(to_bf16(-INFINITY).bits == 0xff80);
  CHECK(to_bf16(std::bit_cast<float>(0x7f800001u)).bits == 0x7fc0);
}

TEST_CASE("every bf16 value survives FP32") {
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    BF16 x{static_cast<uint16_t>(bits)};
    if (!std::isnan(to_float(x))) CHECK(to_bf16(to_float(x)).bits == bits);
  }
}

TEST_CASE("every FP16 value is its sign, exponent and mantissa") {
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    int sign = bits & 0x8000u ? -1 : 1, exponent = static_cast<int>(bits >> 10 & 31),
        mantissa = static_cast<int>(bits & 1023);
    double exact = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    float seen = to_float(F16{static_cast<uint16_t>(bits)});
    if (exponent < 31)
      CHECK(seen == static_cast<float>(sign * exact));
    else
      CHECK((mantissa ? std::isnan(seen) : seen == static_cast<float>(sign) * INFINITY));
    CHECK(std::signbit(seen) == (sign < 0));
  }
}

TEST_CASE("FP16 rounds to nearest, ties to even: every value comes back, and numbers between two go to the nearer") {
  for (uint32_t bits = 0; bits < 0x7c00; bits++) {
    const float low = to_float(F16{static_cast<uint16_t>(bits)});
    const float high = bits == 0x7bff ? 65536.0f : to_float(F16{static_cast<uint16_t>(bits + 1)});
    const float half = (low + high) / 2;  // exact
    REQUIRE(to_f16(low).bits == bits);
    REQUIRE(to_f16(-low).bits == (bits | 0x8000u));
    REQUIRE(to_f16(half).bits == bits + bits % 2);
    REQUIRE(to_f16(std::nextafter(half, 0.0f)).bits == bits);
    REQUIRE(to_f16(std::nextafter(half, INFINITY)).bits == bits + 1);
  }
  CHECK(to_f16(1e30f).bits == 0x7c00);
  CHECK(to_f16(-INFINITY).bits == 0xfc00);
  CHECK(std::isnan(to_float(to_f16(std::bit_cast<float>(0x7f800001u)))));
  CHECK(to_f16(1e-30f).bits == 0);
}

TEST_CASE("every FP8 E4M3 value is its sign, exponent and mantissa, and one of BF16's") {
  for (uint32_t bits = 0; bits < 256; bits++) {
    const int sign = bits & 0x80u ? -1 : 1, exponent = static_cast<int>(bits >> 3 & 15),
              mantissa = static_cast<int>(bits & 7);
    const double exact = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    const float seen = to_float(E4M3{static_cast<uint8_t>(bits)});
    CHECK(std::signbit(seen) == (sign < 0));
    if ((bits & 0x7f) == 0x7f) {
      CHECK(std::isnan(seen));
      continue;
    }
    CHECK(seen == static_cast<float>(sign * exact));
    CHECK(to_float(to_bf16(seen)) == seen);
  }
  CHECK(to_float(E4M3{0x7e}) == 448);
}

}  // namespace trireme::testing
