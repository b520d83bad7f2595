#pragma once

#include <span>
#include <vector>

namespace trireme {

// What the same steps took, one time right after the other, for a machine that drifts must not tell the two apart.
struct StepSeconds {
  double beside = 0;  // of this rank, while all others do the same
  double lone = 0;    // of rank 0, while all others wait, as stages of a pipeline do; elsewhere, and unasked, 0
};

// Of all that is timed, in its order.
using Timings = std::vector<StepSeconds>;

// Of each timing the mean over rounds but for its shortest and its longest: of three rounds at least. A core that
// shares its time with others has two speeds, and a run sees both; what an interruption lengthens, it does not.
Timings mean_of(std::span<const Timings> rounds);

}  // namespace trireme
