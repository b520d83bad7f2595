#pragma once

#include <cstdint>
#include <string_view>

namespace trireme {

// What weights are stored as.
enum class Precision : uint8_t { bf16, fp8, fp4, int8, int4 };
inline constexpr int kPrecisions = 5;
const char* precision_name(Precision precision);
double precision_bits(Precision precision);      // of a weight's value, without scales
Precision get_precision(std::string_view name);  // throws Error(usage)

}  // namespace trireme
