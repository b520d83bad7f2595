#pragma once

namespace trireme {

// Our own elementary functions for tables made at set-up, so that no host's libm has a say in the bits. FP64, built
// from
// +, -, *, / and rounding alone; errors below 1e-14 relative (tests/base/math_test.cpp), far under the FP32 they feed.
double exact_exp(double x);                                  // |x| <= 700
double exact_log(double x);                                  // x > 0, normal
double exact_pow(double base, double power);                 // base > 0
void exact_sin_cos(double x, double* sine, double* cosine);  // |x| <= 1e7 radians

}  // namespace trireme
