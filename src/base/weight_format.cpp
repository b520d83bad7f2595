#include "base/weight_format.h"

#include <fmt/format.h>

namespace trireme {

std::string format_name(const WeightFormat& format) {
  if (!format.quantized()) return std::string(dtype_name(format.type));
  if (format.e4m3) return fmt::format("fp8 e4m3 group {} ({})", format.group, dtype_name(format.type));
  return fmt::format("q{} group {} {} ({})", format.bits, format.group,
                     format.has_minimum ? "with minimum" : fmt::format("zero {}", format.zero),
                     dtype_name(format.type));
}

}  // namespace trireme
