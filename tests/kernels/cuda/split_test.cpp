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
  int parts;              // that share a tile of BF16, on a GPU of 132 SMs
  UnitRange units{0, 0};  // empty: all
};
const Shape kShapes[] = {{34, 40, 1024, 32, 4},   {65, 300, 544, 32, 4},   {130, 97, 992, 32, 4},
                         {64, 4300, 256, 32, 2},  {1600, 640, 256, 32, 2},  // 65 tiles, after fewer
                         {70, 130, 2048, 64, 4},  {40, 8500, 256, 32, 1},   // 67
                         {64, 4400, 1008, 16, 2},                           // a part with a sum in y
                         {200, 5000, 64, 16, 1},  {40, 64, 96, 32, 1},     {34, 33, 1024, 32, 1, {1, 32}}};

bool any(const std::byte* begin, const std::byte* end) {
  return std::any_of(begin, end, [](std::byte b) { return b != std::byte{0}; });
}

}  // namespace

TEST_CASE("blocks that share a sum have the bits of one that has all its units, and leave counts of zero") {
  Guarded workspace(kWorkspaceBytes);
  std::byte* const sums = workspace.data() + kWorkspaceCountBytes;
  uint32_t seed = 80;
  for (const Shape& s : kShapes)
    for (const Format& format :
         {Format(plain(DType::bf16)), f16_inputs(), Format(with_minimum(4, 32)), Format(quantized(8, 32, 128)),
          Format(fp8(static_cast<int>(s.unit))), fp8_inputs(static_cast<int>(s.unit))}) {
      if (format.type != DType::bf16 && (s.unit % kInputGroup != 0 || s.rows > 1000)) continue;
      const Contraction c = s.units.size() > 0 ? contraction(s.k, s.unit, s.units) : contraction(s.k, s.unit);
      const Weights w = random_weights(format, false, s.n, c.total_columns, seed++);
      const Rows x = encode_rows(w.view.form, Source(seed).values(static_cast<size_t>(s.rows * c.total_columns)),
                                 s.rows, c.total_columns);
      if (format.inputs.e4m3 && !select_kernels("cuda").inputs.e4m3) continue;
      const std::vector<float> alone = product(select_kernels("cuda"), x, w, c, 1);
      for (std::string_view level : {"cuda", "cuda by warpgroups"}) {
        if (level != "cuda" && !has_warpgroups()) continue;
        CAPTURE(std::string(level) + ", " + name_of(format));
        CAPTURE(s.rows);
        CAPTURE(s.n);
        CAPTURE(s.k);
        const Kernels kernels = select_kernels(level);
        std::fill(sums, workspace.data() + kWorkspaceBytes, std::byte{0});
        for (int times = 0; times < 2; times++) {
          const std::vector<float> shared = product(kernels, x, w, c, 1, workspace.span());
          CHECK(same_floats(alone.data(), shared.data(), alone.size()));
        }
        CHECK(workspace.intact());
        CHECK_FALSE(any(workspace.data(), sums));
        if (level == "cuda") continue;  // whose blocks have less shared memory by turns
        CHECK(any(sums, workspace.data() + kWorkspaceBytes) == (s.parts > 1));
      }
    }
}

}  // namespace trireme::testing
