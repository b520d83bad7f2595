#include "base/math.h"

#include <bit>
#include <cstdint>

namespace trireme {

namespace {

constexpr double kLn2High = 6.93147180369123816490e-01;  // ln 2 in two parts (fdlibm, e_exp.c)
constexpr double kLn2Low = 1.90821492927058770002e-10;
constexpr double kInvLn2 = 1.44269504088896338700e+00;

// pi / 2 in three parts of 33 bits (fdlibm, e_rem_pio2.c): quotient * part is exact for quotients below 2^20.
constexpr double kHalfPi1 = 1.57079632673412561417e+00;
constexpr double kHalfPi2 = 6.07710050630396597660e-11;
constexpr double kHalfPi3 = 2.02226624871116645580e-21;
constexpr double kTwoOverPi = 6.36619772367581382433e-01;

double nearest(double x) {
  constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer, ties to even
  double shifted = x + magic;
  return shifted - magic;
}

double scale_by_power_of_two(double x, int64_t exponent) {
  return x * std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52);
}

}  // namespace

double exact_exp(double x) {
  double n = nearest(x * kInvLn2);
  double r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= 0.35
  double term = 1, sum = 1;
  for (int i = 1; i <= 20; i++) {
    term = term * r / i;
    sum = sum + term;
  }
  return scale_by_power_of_two(sum, static_cast<int64_t>(n));
}

double exact_log(double x) {
  uint64_t u = std::bit_cast<uint64_t>(x);
  int64_t exponent = static_cast<int64_t>(u >> 52) - 1023;
  double m = std::bit_cast<double>((u & 0xfffffffffffffull) | 0x3ff0000000000000ull);  // [1, 2)
  if (m > 1.4142135623730951) {
    m = m / 2;
    exponent++;
  }
  double s = (m - 1) / (m + 1), s2 = s * s, power = s, sum = 0;  // log m = 2 atanh s, |s| <= 0.1716
  for (int i = 1; i <= 23; i += 2) {
    sum = sum + power / i;
    power = power * s2;
  }
  double n = static_cast<double>(exponent);
  return n * kLn2High + (n * kLn2Low + 2 * sum);
}

double exact_pow(double base, double power) { return exact_exp(power * exact_log(base)); }

void exact_sin_cos(double x, double* sine, double* cosine) {
  double n = nearest(x * kTwoOverPi);
  double r = ((x - n * kHalfPi1) - n * kHalfPi2) - n * kHalfPi3, r2 = r * r;  // |r| <= pi / 4
  double s = 0, c = 0, term = 1;
  for (int i = 0; i <= 24; i += 2) {  // term: (-1)^(i/2) r^i / i!
    c = c + term;
    s = s + term * r / (i + 1);
    term = -term * r2 / ((i + 1.0) * (i + 2.0));
  }
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      *sine = s, *cosine = c;
      break;
    case 1:
      *sine = c, *cosine = -s;
      break;
    case 2:
      *sine = -s, *cosine = -c;
      break;
    default:
      *sine = -c, *cosine = s;
      break;
  }
}

}  // namespace trireme
