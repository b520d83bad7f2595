// Products of many rows by warpgroups (wgmma), which only sm_90a has, beside those by warps.
#include <doctest/doctest.h>

#include "fixture.h"
#include "select_cuda.h"

namespace trireme::testing {

TEST_CASE("warpgroups multiply many rows to the bits of warps: odd sizes, tails, roots, units of odd steps") {
  if (!has_warpgroups()) {
    MESSAGE("skipped: this GPU has no warpgroups (sm_90a)");
    return;
  }
  struct Shape {
    int64_t rows, n, k, unit;
    UnitRange units{0, 0};  // empty: all
  };
  const Shape shapes[] = {{33, 1, 16, 16},
                          {64, 128, 64, 64},
                          {65, 140, 1024, 32},  // all sums that may wait at once
                          {66, 70, 96, 48},     // three steps a unit
                          {130, 97, 160, 32},
                          {129, 257, 320, 80},
                          {70, 33, 288, 32, {2, 9}},
                          {40, 35, 62, 20},  // units that begin anywhere
                          {70, 35, 62, 6},
                          {300, 300, 256, 128},
                          {130, 140, 1024, 128},
                          {200, 129, 1024, 1024},  // 8 units of two stages; one long unit
                          {129, 70, 640, 80},
                          {50, 130, 672, 112},  // tails of 16, 48,
                          {140, 40, 288, 96},
                          {70, 150, 2560, 80},  // 32; of 16 in a deep tree
                          {66, 130, 1024, 16},
                          {70, 40, 2048, 16},  // 64 units; 128, which no tile takes
                          {40, 140, 1024, 16},
                          {34, 40, 24, 8},
                          {130, 97, 1024, 32, {3, 30}},
                          {60, 140, 2048, 64, {1, 32}},  // 6 roots; 5
                          {130, 97, 512, 32, {0, 15}},   // all sums that are open are roots
                          {130, 97, 1024, 32, {0, 31}},
                          {60, 140, 1024, 32, {1, 15}}};
  uint32_t seed = 50;
  for (const Format& format : {Format(plain(DType::bf16)), f16_inputs()})
    for (const Shape& s : shapes) {
      const Contraction c = s.units.size() > 0 ? contraction(s.k, s.unit, s.units) : contraction(s.k, s.unit);
      const Weights w = random_weights(format, false, s.n, c.total_columns, seed++);
      Source source(seed);
      const auto count = static_cast<size_t>(s.rows * c.total_columns);
      const Rows x =
          encode_rows(w.view.form, seed % 3 ? source.values(count) : source.extremes(count, format.inputs.f16), s.rows,
                      c.total_columns);
      const std::vector<float> by_warps = product(select_kernels("cuda"), x, w, c, 1);
      const std::vector<float> by_warpgroups = product(select_kernels("cuda by warpgroups"), x, w, c, 1);
      CAPTURE(name_of(format));
      CAPTURE(s.rows);
      CAPTURE(s.n);
      CAPTURE(s.k);
      CHECK(same_floats(by_warps.data(), by_warpgroups.data(), by_warps.size()));
    }
}

TEST_CASE("warpgroups gate, add biases and take experts' rows to the bits of warps") {
  if (!has_warpgroups()) {
    MESSAGE("skipped: this GPU has no warpgroups (sm_90a)");
    return;
  }
  struct Shape {
    int64_t columns, k, unit;  // columns: of gate, and of up
    std::vector<int32_t> ends;
  };
  const Shape shapes[] = {{64, 1024, 128, {130}},        {192, 96, 48, {70}},
                          {64, 1024, 32, {20, 20, 129}}, {128, 320, 80, {40, 47, 47, 117, 118}},
                          {64, 1024, 32, {64}},          {192, 2048, 64, {0, 200, 265}}};
  constexpr int64_t kPastTheEnd = 3;
  Guarded workspace(kWorkspaceBytes);
  uint32_t seed = 900;
  for (const Format& format : {Format(plain(DType::bf16)), f16_inputs()})
    for (const Shape& s : shapes) {
      CAPTURE(name_of(format));
      CAPTURE(s.columns);
      CAPTURE(s.k);
      const auto experts = static_cast<int64_t>(s.ends.size());
      const int64_t n = 2 * s.columns, rows = s.ends.back() + (experts > 1 ? kPastTheEnd : 0), y_stride = n + 5;
      const Contraction c = contraction(s.k, s.unit);
      const Weights all = random_weights(format, false, experts * n, s.k, seed++);
      PackedView w = all.view;  // panels are whole: each expert's matrix begins behind the one before it
      w.n = n, w.to_next = experts > 1 ? packed_bytes(w) : 0;
      const Rows x =
          encode_rows(w.form, Source(seed).extremes(static_cast<size_t>(rows * s.k), format.inputs.f16), rows, s.k);
      const std::vector<float> bias = Source(seed + 1).values(static_cast<size_t>(n));
      for (int64_t usual : {40, 100}) {
        // y of a product, then what a gate makes of it.
        const auto results = [&](const Kernels& kernels) {
          Guarded y(static_cast<size_t>(rows * y_stride) * 4), out(static_cast<size_t>(rows * s.columns) * 4);
          MatMul a{x.view, w, &c, y.floats(), y_stride, 0};
          if (experts > 1) a.experts = {s.ends, usual};
          if (experts == 1) a.bias = bias;
          Launch launch;
          launch.workspace = workspace.span();
          std::vector<float> all_results;
          kernels.matmul(launch, a);
          for (int64_t r = 0; r < s.ends.back(); r++)
            all_results.insert(all_results.end(), y.floats() + r * y_stride, y.floats() + r * y_stride + n);
          kernels.gated_matmul(launch, {a, Activation::silu, {out.floats(), rows, s.columns}});
          all_results.insert(all_results.end(), out.floats(), out.floats() + s.ends.back() * s.columns);
          CHECK(y.intact());
          CHECK(out.intact());
          return all_results;
        };
        const std::vector<float> by_warps = results(select_kernels("cuda")),
                                 by_warpgroups = results(select_kernels("cuda by warpgroups"));
        CHECK(same_floats(by_warps.data(), by_warpgroups.data(), by_warps.size()));
      }
    }
}

}  // namespace trireme::testing
