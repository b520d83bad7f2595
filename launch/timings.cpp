#include "launch/timings.h"

#include <algorithm>
#include <cmath>

#include "base/must.h"

namespace trireme {

Timings mean_of(std::span<const Timings> rounds) {
  must(rounds.size() >= 3, "a mean without the shortest and the longest is of three at least");
  Timings means(rounds.front().size());
  for (const Timings& round : rounds) must(round.size() == means.size(), "rounds time the same steps");
  for (size_t i = 0; i < means.size(); i++)
    for (double StepSeconds::*seconds : {&StepSeconds::beside, &StepSeconds::lone}) {
      double sum = 0, least = HUGE_VAL, most = 0;
      for (const Timings& round : rounds) {
        const double s = round[i].*seconds;
        sum += s, least = std::min(least, s), most = std::max(most, s);
      }
      means[i].*seconds = (sum - least - most) / static_cast<double>(rounds.size() - 2);
    }
  return means;
}

}  // namespace trireme
