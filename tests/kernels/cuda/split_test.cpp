// Tiles so few that several blocks share each one's sum (kernels/cuda/split.cuh).
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "fixture.h"
#include "select_cuda.h"

namespace trireme::testing {

namespace {

struct Shape {
  int64_t rows, n, k, unit;
  UnitRange units{0, 0};  // empty: all
};
// In the order of parts: 4, 4, 4, 2, 4; then 1, as too many tiles, too few units, several roots.
const Shape kShapes[] = {{34, 40, 1024, 32},  {65, 300, 544, 32},  {130, 97, 992, 32}, {64, 4300, 256, 32},
                         {70, 130, 2048, 64}, {200, 5000, 64, 16}, {40, 64, 96, 32},   {34, 33, 1024, 32, {1, 32}}};

}  // namespace

TEST_CASE("blocks that share a sum have the bits of one that has all its units, and leave the workspace as it was") {
  Guarded workspace(kWorkspaceBytes);
  uint32_t seed = 80;
  for (const Shape& s : kShapes)
    for (const Format& format : {Format(plain(DType::bf16)), Format(with_minimum(4, 32)), Format(quantized(8, 32, 128)),
                                 Format(fp8(static_cast<int>(s.unit))), fp8_inputs(static_cast<int>(s.unit))}) {
      const bool whole_groups = s.unit % kInputGroup == 0 || format.type == DType::bf16;
      if (!whole_groups) continue;
      const Contraction c = s.units.size() > 0 ? contraction(s.k, s.unit, s.units) : contraction(s.k, s.unit);
      const Weights w = random_weights(format, false, s.n, c.total_columns, seed++);
      const Rows x = encode_rows(w.view.form, Source(seed).values(static_cast<size_t>(s.rows * c.total_columns)),
                                 s.rows, c.total_columns);
      for (std::string_view level : {"cuda", "cuda by warpgroups"}) {
        if (level != "cuda" && !has_warpgroups()) continue;
        if (format.e4m3_inputs && !select_kernels(level).e4m3_inputs) continue;
        const Kernels kernels = select_kernels(level);
        const std::vector<float> alone = product(kernels, x, w, c, 1);
        for (int times = 0; times < 2; times++) {
          const std::vector<float> shared = product(kernels, x, w, c, 1, workspace.data());
          CAPTURE(std::string(level) + ", " + name_of(format));
          CAPTURE(s.rows);
          CAPTURE(s.n);
          CAPTURE(s.k);
          CHECK(same_floats(alone.data(), shared.data(), alone.size()));
        }
        CHECK(workspace.intact());
        // Sums are there, so that blocks did share; the counts before them are zeros.
        CHECK(std::all_of(workspace.data(), workspace.data() + 256, [](std::byte b) { return b == std::byte{0}; }));
      }
    }
  CHECK(std::any_of(workspace.floats(), workspace.floats() + (1 << 20), [](float x) { return x != 0; }));
}

}  // namespace trireme::testing
