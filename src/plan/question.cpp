#include "plan/question.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace trireme {

namespace {

constexpr const char* kObjectives[] = {"latency", "throughput", "cost"};

}  // namespace

Objective get_objective(std::string_view name) {
  for (size_t i = 0; i < std::size(kObjectives); i++)
    if (name == kObjectives[i]) return static_cast<Objective>(i);
  fail(ExitCode::usage, "there is no objective '{}'; there are {}", name, fmt::join(kObjectives, ", "));
}

std::vector<Precision> PlanQuestion::lower_precisions() const {
  std::vector<Precision> lower;
  if (model.precision() == Precision::bf16)
    lower.push_back(cluster.device.fp8_flops > 0 && !profile.own() ? Precision::fp8 : Precision::int8);
  if (precision_bits(model.precision()) > 4)
    lower.push_back(cluster.device.fp4_flops > 0 && !profile.own() ? Precision::fp4 : Precision::int4);
  return lower;
}

}  // namespace trireme
