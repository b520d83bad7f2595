#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace trireme {

// A figure of every scored position of one window of a text, added up.
struct WindowSum {
  double sum = 0;
  int64_t positions = 0;
};

struct Estimate {
  double mean = 0;               // over all positions
  std::optional<double> margin;  // half of the 95 % interval; none from fewer than two windows
};

// Neighbouring positions of a text are alike, so that their number says little about how sure a mean is. The windows
// count as the independent samples: with mean m, the margin is t * sqrt(W / (W - 1) * sum of (sum - m * positions)^2) /
// all positions, t Student's for W - 1 degrees of freedom.
Estimate mean_over(std::span<const WindowSum> windows);

// The value that Student's t stays below with probability 0.975.
double student_t(int64_t degrees);

}  // namespace trireme
