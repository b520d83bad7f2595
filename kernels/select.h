#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace trireme {

// Levels this build and this CPU can run, lowest first: "reference", "avx2", "avx512".
std::vector<std::string_view> available_levels();

// The table of one level (which must be available): the reference, overridden rung by rung up to that level.
Kernels select_kernels(std::string_view level);

}  // namespace trireme
