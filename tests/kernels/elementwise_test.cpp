#include "check_levels.h"
#include "kernels/elementary.h"

namespace trireme::testing {

TEST_CASE("gated_mul: silu(gate) * up and gelu(gate) * up, by hand") {
  const float gate[] = {0, 1, -200, -1}, up[] = {5, 2, 3, 1};
  for (auto level : available_levels()) {
    float out[4];
    select_kernels(level).gated_mul({}, {Activation::silu, {gate, 1, 4}, {up, 1, 4}, {out, 1, 4}});
    CHECK(out[0] == 0);
    CHECK(out[1] == doctest::Approx(2 * 0.7310585786));
    CHECK(std::fabs(out[2]) < 1e-30f);
    CHECK(out[3] == doctest::Approx(-0.2689414214));
    select_kernels(level).gated_mul({}, {Activation::gelu_tanh, {gate, 1, 4}, {up, 1, 4}, {out, 1, 4}});
    CHECK(out[0] == 0);
    CHECK(out[1] == doctest::Approx(2 * 0.8411919906));
    CHECK(out[2] == 0);
    CHECK(out[3] == doctest::Approx(-0.1588080094));
  }
}

TEST_CASE("gated_mul: every level gives the reference's bits") {
  for (Activation activation : {Activation::silu, Activation::gelu_tanh})
    for (int64_t columns : kColumns)
      for (bool extreme : {false, true}) {
        Source source(3);
        size_t count = static_cast<size_t>(5 * columns);
        std::vector<float> gate = extreme ? source.extremes(count) : source.values(count, 30),
                           up = source.extremes(count);
        gate[0] = kNan, gate[count - 1] = INFINITY, up[count / 2] = -INFINITY;
        check_levels(count * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& y) {
          kernels.gated_mul(launch,
                            {activation, {gate.data(), 5, columns}, {up.data(), 5, columns}, {y.floats(), 5, columns}});
        });
      }
}

TEST_CASE("gated_mul reads gate and up as columns of one matrix and stops at its own") {
  Source source(5);
  std::vector<float> both = source.values(3 * 80, 4), out(3 * 50, -7.0f);
  for (auto level : available_levels()) {
    select_kernels(level).gated_mul(
        {}, {Activation::silu, {both.data(), 3, 40, 80}, {both.data() + 40, 3, 40, 80}, {out.data(), 3, 40, 50}});
    for (size_t i = 0; i < 3; i++)
      for (size_t k = 0; k < 50; k++)
        CHECK(out[50 * i + k] == (k < 40 ? silu(both[80 * i + k]) * both[80 * i + 40 + k] : -7));
  }
}

TEST_CASE("add_bias, add_scaled and scale by hand: the product is rounded before it is added") {
  const float bias[] = {10, 20}, y[] = {1, 2, 3, 0x1.000002p0f};
  for (auto level : available_levels()) {
    Kernels kernels = select_kernels(level);
    std::vector<float> x = {1, 2, 3, 4};
    kernels.add_bias({}, {{x.data(), 2, 2}, bias});
    CHECK(x == std::vector<float>{11, 22, 13, 24});
    x[3] = -0x1.000004p0f;  // (1 + 2^-23)^2 rounds to 1 + 2^-22; fused, 2^-46 would be left
    kernels.add_scaled({}, {{x.data(), 2, 2}, {y, 2, 2}, 0x1.000002p0f});
    CHECK(x[3] == 0);
    x = {1, -2, 3, 4};
    kernels.scale({}, {{x.data(), 2, 2}, 0.5f, 0});
    CHECK(x == std::vector<float>{0.5f, -1, 1.5f, 2});
    kernels.scale({}, {{x.data(), 2, 2}, 2, 5});
    CHECK(x[0] == doctest::Approx(5 * std::tanh(0.2)));
    CHECK(x[1] == doctest::Approx(-5 * std::tanh(0.4)));
    CHECK(x[3] == doctest::Approx(5 * std::tanh(0.8)));
  }
}

TEST_CASE("add_bias, add_scaled and scale: every level gives the reference's bits") {
  for (int64_t columns : kColumns) {
    Source source(6);
    std::vector<float> x = source.extremes(static_cast<size_t>(5 * columns)), y = source.extremes(x.size()),
                       bias = source.extremes(static_cast<size_t>(columns));
    x[0] = kNan, x[x.size() - 1] = -INFINITY;
    auto check = [&](const auto& call) {
      check_levels(x.size() * 4, [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
        if (launch.part == 0) std::copy(x.begin(), x.end(), out.floats());
        call(kernels, launch, MatrixView<float>(out.floats(), 5, columns));
      });
    };
    check([&](const Kernels& k, const Launch& launch, MatrixView<float> out) { k.add_bias(launch, {out, bias}); });
    for (float by : {1.0f, 0.22f, -12.0f}) {
      check([&](const Kernels& k, const Launch& launch, MatrixView<float> out) {
        k.add_scaled(launch, {out, {y.data(), 5, columns}, by});
      });
      for (float softcap : {0.0f, 30.0f, 0.3f})
        check([&](const Kernels& k, const Launch& launch, MatrixView<float> out) {
          k.scale(launch, {out, by, softcap});
        });
    }
  }
}

}  // namespace trireme::testing
