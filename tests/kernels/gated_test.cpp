#include <doctest/doctest.h>

#include <string>

#include "check_levels.h"

namespace trireme::testing {

namespace {

// A product of 2 `columns` outputs, and a bias of them.
struct Gated {
  Weights w;
  Rows x;
  Contraction c;
  std::vector<float> bias;
  int64_t rows = 0, columns = 0;

  Gated(const Format& format, int64_t row_count, int64_t gate_columns, int64_t k, uint32_t seed)
      : w(random_weights(format, false, 2 * gate_columns, k, seed)),
        x(encode_rows(w.view.form, Source(seed + 1).values(static_cast<size_t>(row_count * k)), row_count, k)),
        c(contraction(k, 32)),
        bias(Source(seed + 2).values(static_cast<size_t>(2 * gate_columns))),
        rows(row_count),
        columns(gate_columns) {}
  GatedMatMul operation(float* y, Activation activation, bool with_bias) const {
    const MatMul product{x.view, w.view, &c, y, 2 * columns + 5, 0};
    GatedMatMul gated{product, activation, {}};
    if (with_bias) gated.product.bias = bias;
    return gated;
  }
  size_t room() const { return static_cast<size_t>(rows * (2 * columns + 5)); }
};

}  // namespace

TEST_CASE("gated_matmul by hand: the first half of the outputs gates the second") {
  Weights w = random_weights(plain(DType::f32), false, 128, 2, 1);
  std::fill(w.values.begin(), w.values.end(), std::byte{0});
  float* values = reinterpret_cast<float*>(w.values.data());
  values[0] = 1, values[2 * 64] = 2, values[2 * 64 + 1] = 3;  // gate 0: x[0]; up 0: 2 x[0] + 3 x[1]
  pack_block(w.block, w.view, 0, 0);
  REQUIRE(can_gate(w.view));
  Rows x = encode_rows(w.view.form, {1, 10}, 1, 2);
  const Contraction c = contraction(2, 2);
  std::vector<float> bias(128), y(128), out(64);
  bias[1] = -1, bias[65] = 5;
  for (auto level : available_levels()) {
    select_kernels(level).gated_matmul(
        {}, {{x.view, w.view, &c, y.data(), 128, 0, bias}, Activation::silu, {out.data(), 1, 64}});
    CHECK(out[0] == doctest::Approx(0.7310585786 * 32));
    CHECK(out[1] == doctest::Approx(-0.2689414214 * 5));
    CHECK(out[2] == 0);
  }
}

TEST_CASE("halves may gate each other where each has panels of its own, which threads share evenly") {
  for (const auto& [format, panel] : {std::pair{Format(plain(DType::bf16)), 64},
                                      {f16_inputs(), 64},
                                      {Format(fp8(64)), 64},
                                      {fp8_inputs(64), 32},
                                      {Format(quantized(4, 32, 8)), 32}}) {
    CAPTURE(name_of(format));
    CHECK(can_gate(random_weights(format, false, 2 * panel, 64, 1).view));
    CHECK(can_gate(random_weights(format, false, 6 * panel, 64, 1).view));
    CHECK_FALSE(can_gate(random_weights(format, false, 2 * panel + 2, 64, 1).view));
    CHECK_FALSE(can_gate(random_weights(format, false, panel, 64, 1).view));
    // Three pairs of panels are more for one of two threads than six panels.
    CHECK_FALSE(can_gate(random_weights(format, false, 6 * panel, 64, 1).view, 2));
    CHECK(can_gate(random_weights(format, false, 8 * panel, 64, 1).view, 2));
  }
}

TEST_CASE("gated_matmul: at every level the bits of its own product, its bias, gated_mul and encode") {
  struct Shape {
    int64_t rows, columns, k;
  };
  uint32_t seed = 50;
  size_t pairs = 0;  // of a shape and a format
  Guarded workspace(kWorkspaceBytes);
  for (const Shape s : {Shape{1, 64, 96},
                        {3, 192, 64},
                        {9, 64, 160},
                        {20, 128, 64},
                        {37, 64, 96},
                        {70, 192, 64},
                        {130, 64, 1024},
                        {34, 64, 2048},
                        {260, 64, 32},
                        {3, 32, 64},
                        {20, 96, 64},
                        {40, 96, 256},
                        {130, 32, 256}})
    for (const Format& format : kFormats) {
      // Each format meets each form: as many formats as a multiple of forms would bring the same pair for every shape.
      const ActivationForm form = kActivationForms[(pairs + pairs / std::size(kFormats)) % std::size(kActivationForms)];
      pairs++;
      const Gated gated(format, s.rows, s.columns, s.k, seed++);
      if (!can_gate(gated.w.view)) continue;  // 32 columns are no panel of some forms
      const auto activation = seed / 4 % 2 ? Activation::silu : Activation::gelu_tanh;
      const bool with_bias = seed % 3 == 0;
      const int64_t n = 2 * s.columns, row_bytes = activation_row_bytes(form, s.columns);
      const auto bytes = static_cast<size_t>(s.rows * row_bytes);
      // Where operations leave [rows, columns] in the form.
      const auto into = [&](Guarded& memory, auto& operation) {
        operation.out = {form == ActivationForm::f32 ? memory.floats() : nullptr, s.rows, s.columns};
        if (form != ActivationForm::f32) operation.encoded = {form, memory.data(), s.rows, s.columns, row_bytes};
      };
      for (auto level : levels_of(format)) {
        const Kernels kernels = select_kernels(level);
        std::vector<float> y = product(kernels, gated.x, gated.w, gated.c, 1);
        if (with_bias) kernels.add_bias({}, {{y.data(), s.rows, n}, gated.bias});
        Guarded expected(bytes);
        GatedMul apart{activation, {y.data(), s.rows, s.columns, n}, {y.data() + s.columns, s.rows, s.columns, n}, {}};
        into(expected, apart);
        kernels.gated_mul({}, apart);
        for (int parts : teams_of(level, {1, 2, 3})) {
          Guarded seen(bytes), room(gated.room() * 4);
          GatedMatMul together = gated.operation(room.floats(), activation, with_bias);
          into(seen, together);
          each_part(parts, [&](Launch launch) {
            launch.workspace = workspace.span();
            kernels.gated_matmul(launch, together);
          });
          CAPTURE(std::string(level) + ", " + name_of(format));
          CAPTURE(s.rows);
          CAPTURE(s.columns);
          CAPTURE(parts);
          CAPTURE(static_cast<int>(form));
          CHECK(seen.intact());
          CHECK(room.intact());
          CHECK(std::equal(seen.data(), seen.data() + bytes, expected.data()));
        }
      }
    }
}

TEST_CASE("a product's bias is added to its sum, as add_bias does it, at every level") {
  for (const Format& format : kFormats)
    for (int64_t rows : {1, 12, 40}) {
      const Gated both(format, rows, 49, 96, 7);  // 98 outputs
      for (auto level : levels_of(format)) {
        const Kernels kernels = select_kernels(level);
        std::vector<float> expected = product(kernels, both.x, both.w, both.c, 1);
        kernels.add_bias({}, {{expected.data(), rows, 98}, both.bias});
        for (int parts : teams_of(level, {1, 2, 3})) {
          std::vector<float> y(static_cast<size_t>(rows * 98));
          each_part(parts, [&](const Launch& launch) {
            kernels.matmul(launch, {both.x.view, both.w.view, &both.c, y.data(), 98, 0, both.bias});
          });
          CAPTURE(std::string(level) + ", " + name_of(format));
          CHECK(same_floats(y.data(), expected.data(), y.size()));
        }
      }
    }
}

}  // namespace trireme::testing
