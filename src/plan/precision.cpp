#include "plan/precision.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace trireme {

namespace {

constexpr const char* kNames[] = {"bf16", "fp8", "fp4", "int8", "int4"};
static_assert(std::size(kNames) == kPrecisions);

}  // namespace

const char* precision_name(Precision precision) { return kNames[static_cast<size_t>(precision)]; }

double precision_bits(Precision precision) {
  constexpr double kBits[] = {16, 8, 4, 8, 4};
  return kBits[static_cast<size_t>(precision)];
}

Precision get_precision(std::string_view name) {
  for (int p = 0; p < kPrecisions; p++)
    if (name == kNames[p]) return static_cast<Precision>(p);
  fail(ExitCode::usage, "there is no precision '{}'; there are {}", name, fmt::join(kNames, ", "));
}

}  // namespace trireme
