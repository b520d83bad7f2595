#include "launch/bench_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launch/build_commit.h"

namespace trireme {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void print_figure(const Figure& figure, const Options& options) {
  auto [low, high] = std::minmax_element(figure.samples.begin(), figure.samples.end());
  double share = figure.limit > 0 ? figure.work / figure.limit : 0;
  if (options.json) {
    nlohmann::ordered_json line = {
        {"bench", figure.name},      {"unit", figure.unit}, {"median", median(figure.samples)},
        {"samples", figure.samples}, {"work", figure.work}, {"limit_unit", figure.limit_unit}};
    if (figure.limit > 0) line["limit"] = figure.limit, line["share"] = share;
    if (!figure.limit_samples.empty()) line["limit_samples"] = figure.limit_samples;
    for (auto& [key, value] : figure.about.items()) line[key] = value;
    line["version"] = TRIREME_VERSION;
    line["commit"] = kBuildCommit;
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
    return;
  }
  std::string text = fmt::format("{:<12} {:.4g} {} (median of {}, {:.4g} to {:.4g})", figure.name,
                                 median(figure.samples), figure.unit, figure.samples.size(), *low, *high);
  if (figure.work > 0) text += fmt::format("; {:.4g} {}", figure.work, figure.limit_unit);
  if (figure.limit > 0) text += fmt::format(", {:.0f} % of the {:.4g} measured beside it", 100 * share, figure.limit);
  for (auto& [key, value] : figure.about.items())
    text += fmt::format("; {} {}", key, value.is_string() ? value.get<std::string>() : value.dump());
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

}  // namespace trireme
