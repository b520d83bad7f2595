#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/options.h"

namespace trireme {

// One figure of a benchmark, as it is printed: the median of its samples and their spread, what was moved or computed,
// and the share of the limit that was measured in the same run.
struct Figure {
  std::string name;                        // "decode"
  std::string unit;                        // "tok/s"
  std::vector<double> samples;             // in `unit`
  double work = 0;                         // per second at the median, in limit_unit
  double limit = 0;                        // measured in the same run; 0: unknown
  std::string limit_unit;                  // "GB/s"
  nlohmann::ordered_json about;            // whatever else tells one run from another: layout, batch, bytes
  std::vector<double> limit_samples = {};  // in limit_unit, where the limit was measured beside every sample
};

double median(std::vector<double> values);
// A line for people, or with --json one JSON object; whoever ends this program has it.
void print_figure(const Figure& figure, const Options& options);

}  // namespace trireme
