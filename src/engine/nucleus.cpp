#include "engine/nucleus.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/math.h"

namespace trireme {

namespace {

constexpr double kLowest = -700;  // of exact_exp; what is below counts as much

double weight(float logit, float most, float temperature) {
  const double below = (static_cast<double>(logit) - most) / static_cast<double>(temperature);
  return exact_exp(std::max(kLowest, below));
}

}  // namespace

double exp_sum(std::span<const ExpSum> units, float most, float temperature) {
  double sum = 0;
  for (const ExpSum& unit : units) sum += static_cast<double>(unit.sum) * weight(unit.largest, most, temperature);
  return sum;
}

float log_sum_exp(std::span<const ExpSum> units) {
  float most = -std::numeric_limits<float>::infinity();
  for (const ExpSum& unit : units) most = std::max(most, unit.largest);
  if (!std::isfinite(most)) return most;
  return static_cast<float>(most + exact_log(exp_sum(units, most, 1)));
}

std::optional<size_t> tokens_kept(RankedTokens& ranked, const Cut& cut, size_t known, double total) {
  const size_t limit = cut.top_k > 0 ? std::min(static_cast<size_t>(cut.top_k), ranked.size()) : known;
  if (limit > known) return std::nullopt;
  if (!(cut.top_p < 1)) return limit;
  const float top = ranked[0].logit;
  if (cut.top_k > 0) {
    total = 0;
    for (size_t i = 0; i < limit; i++) total += weight(ranked[i].logit, top, cut.temperature);
  }
  const double wanted = static_cast<double>(cut.top_p) * total;
  double sum = 0;
  size_t kept = 0;
  while (kept < limit && (kept == 0 || sum < wanted)) sum += weight(ranked[kept++].logit, top, cut.temperature);
  if (sum < wanted && cut.top_k == 0) return std::nullopt;
  return kept;
}

}  // namespace trireme
