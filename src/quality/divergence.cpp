#include "quality/divergence.h"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/error.h"
#include "base/math.h"

namespace trireme {

namespace {

constexpr size_t kLanes = 8;
constexpr double kLowest = -700;  // e^-700 is lost beside the 1 of the likeliest token
constexpr double kLog2E = 1.44269504088896338700e+00;
constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;  // as in base/math.cpp
constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds, and leaves n in the lowest bits

// e^r, |r| <= ln 2 / 2, by 1 / k!, highest first: within 1e-16.
constexpr double kTaylor[] = {
    1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
    1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};

// kLowest <= x <= 0. Without branches, divisions or conversions, so that compilers make lanes of it.
inline double exp_of(double x) {
  const double shifted = x * kLog2E + kRound, n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double sum = kTaylor[0];
  for (size_t i = 1; i < std::size(kTaylor); i++) sum = sum * r + kTaylor[i];
  return std::bit_cast<double>(std::bit_cast<uint64_t>(sum) + (std::bit_cast<uint64_t>(shifted) << 52));
}

struct Sums {
  double reference[kLanes] = {}, tested[kLanes] = {};  // of e^(logit - largest)
  double drift[kLanes] = {};                           // of that of the reference, times the difference of exponents
};

inline void add(const double* reference, const double* tested, Sums& sums) {
  for (size_t l = 0; l < kLanes; l++) {
    const double r = reference[l] < kLowest ? kLowest : reference[l], t = tested[l] < kLowest ? kLowest : tested[l];
    const double weight = exp_of(r);
    sums.reference[l] += weight;
    sums.tested[l] += exp_of(t);
    sums.drift[l] += weight * (reference[l] - tested[l]);
  }
}

double total(const double* lanes) {
  double sum = 0;
  for (size_t l = 0; l < kLanes; l++) sum += lanes[l];
  return sum;
}

}  // namespace

Divergence divergence(std::span<const float> reference, std::span<const float> tested) {
  must(reference.size() == tested.size() && !reference.empty(), "two predictions of one vocabulary");
  const auto best_r = std::max_element(reference.begin(), reference.end());
  const auto best_t = std::max_element(tested.begin(), tested.end());
  const double top_r = *best_r, top_t = *best_t;
  Sums sums;
  for (size_t begin = 0; begin < reference.size(); begin += kLanes) {
    double r[kLanes], t[kLanes];
    const size_t count = std::min(kLanes, reference.size() - begin);
    for (size_t l = 0; l < count; l++) {
      r[l] = static_cast<double>(reference[begin + l]) - top_r;
      t[l] = static_cast<double>(tested[begin + l]) - top_t;
    }
    for (size_t l = count; l < kLanes; l++) r[l] = t[l] = kLowest;
    add(r, t, sums);
  }
  const double sum_r = total(sums.reference), sum_t = total(sums.tested);
  return {total(sums.drift) / sum_r + (exact_log(sum_t) - exact_log(sum_r)),
          static_cast<int32_t>(best_r - reference.begin()), static_cast<int32_t>(best_t - tested.begin())};
}

}  // namespace trireme
