#pragma once

#include <doctest/doctest.h>

#include <string>

#include "fixture.h"

namespace trireme::testing {

inline constexpr float kNan = NAN;
inline constexpr int64_t kColumns[] = {1, 5, 15, 16, 17, 31, 32, 33, 64, 100, 576, 577};

// Runs `call(kernels, launch, out)` at every level and part count into guarded memory and compares with the reference.
template <typename Call>
void check_levels(size_t bytes, const Call& call) {
  Guarded expected(bytes);
  call(select_kernels("reference"), Launch{}, expected);
  CHECK(expected.intact());
  for (auto level : available_levels())
    for (int parts : teams_of(level, {1, 2, 3})) {
      Guarded out(bytes);
      Kernels kernels = select_kernels(level);
      each_part(parts, [&](const Launch& launch) { call(kernels, launch, out); });
      CAPTURE(level);
      CAPTURE(parts);
      CHECK(out.intact());
      CHECK(same_floats(out.floats(), expected.floats(), bytes / 4));
    }
}

}  // namespace trireme::testing
