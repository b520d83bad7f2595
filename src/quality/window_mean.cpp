#include "quality/window_mean.h"

#include <cmath>
#include <iterator>

#include "base/error.h"

namespace trireme {

namespace {

constexpr double kTable[] = {12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624,
                             2.306004,  2.262157, 2.228139, 2.200985, 2.178813, 2.160369, 2.144787,
                             2.131450,  2.119905, 2.109816, 2.100922, 2.093024, 2.085963};  // 1 to 20 degrees

}  // namespace

double student_t(int64_t degrees) {
  must(degrees > 0, "a spread has a degree of freedom");
  if (degrees <= std::ssize(kTable)) return kTable[degrees - 1];
  const double z = 1.959963985, n = static_cast<double>(degrees), z3 = z * z * z, z5 = z3 * z * z;
  return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n);  // Cornish and Fisher: within 1e-4
}

Estimate mean_over(std::span<const WindowSum> windows) {
  Estimate estimate;
  double sum = 0;
  int64_t positions = 0;
  for (const WindowSum& w : windows) {
    sum += w.sum;
    positions += w.positions;
  }
  must(positions > 0, "a mean has positions");
  const double n = static_cast<double>(positions), count = static_cast<double>(windows.size());
  estimate.mean = sum / n;
  if (windows.size() < 2) return estimate;
  double squares = 0;
  for (const WindowSum& w : windows) {
    const double residual = w.sum - estimate.mean * static_cast<double>(w.positions);
    squares += residual * residual;
  }
  estimate.margin = student_t(std::ssize(windows) - 1) * std::sqrt(squares * count / (count - 1)) / n;
  return estimate;
}

}  // namespace trireme
