// FP16 weights: in two bytes, with the bits of the same numbers in FP32, whatever they are; and with FP16 inputs, for
// tensor cores.
#include <doctest/doctest.h>

#include <string>

#include "fixture.h"

namespace trireme::testing {

namespace {

constexpr uint16_t kExponent = 0x7c00;

F16* f16_of(Weights& w) { return reinterpret_cast<F16*>(w.values.data()); }

// Any bits, subnormals and both zeros more often than among all; infinities and NaNs where they are asked for.
Weights any_f16(int64_t n, int64_t k, bool all_finite, uint32_t seed) {
  Weights w = random_weights(plain(DType::f16), false, n, k, seed);
  Source source(seed);
  for (int64_t i = 0; i < n * w.block.stored_columns; i++) {
    auto bits = static_cast<uint16_t>(source.bits());
    if (source.below(8) == 0) bits &= static_cast<uint16_t>(~kExponent);
    if (source.below(16) == 0) bits &= 0x8000;
    if ((bits & kExponent) == kExponent && (all_finite || source.below(16) > 0)) bits ^= 0x4000;
    f16_of(w)[i].bits = bits;
  }
  pack_block(w.block, w.view, 0, 0);
  return w;
}

// The same numbers, stored and packed as FP32.
Weights as_f32(Weights& f16) {
  Weights w = random_weights(plain(DType::f32), false, f16.view.n, f16.view.k, 1);
  REQUIRE(w.view.form == PackedForm::f32);
  for (size_t i = 0; i < w.values.size() / sizeof(float); i++)
    reinterpret_cast<float*>(w.values.data())[i] = to_float(f16_of(f16)[i]);
  pack_block(w.block, w.view, 0, 0);
  return w;
}

Rows some_rows(int64_t rows, int64_t columns, uint32_t seed) {
  Source source(seed);
  const auto count = static_cast<size_t>(rows * columns);
  return encode_rows(PackedForm::f32, seed % 2 ? source.extremes(count) : source.values(count), rows, columns);
}

}  // namespace

TEST_CASE("FP16: every number is the one that to_float makes of it, in memory and in a product") {
  constexpr int64_t kAll = 65536;
  Weights w = random_weights(plain(DType::f16), false, kAll, 1, 1);
  REQUIRE(w.view.form == PackedForm::f16);
  for (int64_t i = 0; i < kAll; i++) f16_of(w)[i].bits = static_cast<uint16_t>(i);
  pack_block(w.block, w.view, 0, 0);
  const Rows one = encode_rows(w.view.form, {1}, 1, 1);
  const auto number = [](int64_t i) { return to_float(F16{static_cast<uint16_t>(i)}); };
  for (int64_t i = 0; i < kAll; i++)
    REQUIRE(std::bit_cast<uint32_t>(packed_value(w.view, i, 0)) == std::bit_cast<uint32_t>(number(i)));
  for (auto level : available_levels()) {
    CAPTURE(level);
    const std::vector<float> y = product(select_kernels(level), one, w, contraction(1, 1), 1);
    for (int64_t i = 0; i < kAll; i++) REQUIRE(same(y[static_cast<size_t>(i)], 0.0f + number(i)));
  }
}

TEST_CASE("FP16: products have the bits of the same numbers in FP32, at every level") {
  struct Shape {
    int64_t rows, n, k, unit;
  };
  uint32_t seed = 40;
  for (const Shape s : {Shape{1, 1, 1, 1},
                        {2, 63, 33, 32},
                        {3, 64, 31, 7},
                        {4, 65, 96, 32},
                        {5, 129, 100, 64},
                        {6, 17, 160, 32},
                        {7, 70, 64, 64},
                        {33, 31, 77, 13},
                        {67, 130, 40, 16}})
    for (bool all_finite : {true, false}) {
      Weights halves = any_f16(s.n, s.k, all_finite, seed++), floats = as_f32(halves);
      const Rows x = some_rows(s.rows, s.k, seed);
      const Contraction c = contraction(s.k, s.unit);
      const std::vector<float> expected = product(select_kernels("reference"), x, floats, c, 1);
      for (auto level : available_levels())
        for (int parts : teams_of(level, {1, 3})) {
          CAPTURE(level);
          CAPTURE(s.rows);
          CAPTURE(s.n);
          CAPTURE(s.k);
          CAPTURE(parts);
          const std::vector<float> y = product(select_kernels(level), x, halves, c, parts),
                                   of_floats = product(select_kernels(level), x, floats, c, parts);
          CHECK(same_floats(y.data(), expected.data(), y.size()));
          CHECK(same_floats(of_floats.data(), expected.data(), y.size()));
        }
    }
}

TEST_CASE("FP16: gated products have the bits of the same numbers in FP32, at every level") {
  for (int64_t rows : {1, 4, 9, 70})
    for (int64_t columns : {64, 192}) {
      const int64_t k = 75, n = 2 * columns;
      Weights halves = any_f16(n, k, true, 60), floats = as_f32(halves);
      REQUIRE(can_gate(halves.view));
      const Rows x = encode_rows(PackedForm::f32, Source(61).values(static_cast<size_t>(rows * k), 1e-4f), rows, k);
      const Contraction c = contraction(k, 32);
      for (auto level : available_levels()) {
        CAPTURE(level);
        CAPTURE(rows);
        std::vector<float> room(static_cast<size_t>(rows * n)), seen[2];
        for (int i = 0; i < 2; i++) {
          seen[i].resize(static_cast<size_t>(rows * columns));
          const MatMul gate_up{x.view, (i == 0 ? halves : floats).view, &c, room.data(), n, 0};
          select_kernels(level).gated_matmul({}, {gate_up, Activation::silu, {seen[i].data(), rows, columns}});
        }
        CHECK(same_floats(seen[0].data(), seen[1].data(), seen[0].size()));
      }
    }
}

TEST_CASE("FP16 inputs: a product by hand, with subnormal numbers; and past 65504 an infinity shows, at every level") {
  Weights w = random_weights(f16_inputs(), false, 2, 3, 1);
  REQUIRE(w.view.form == PackedForm::f16_pairs);
  const float values[] = {1, 2, 0x1p-24f, 0, -1024, 0.5f};
  for (int64_t i = 0; i < 6; i++) f16_of(w)[i] = to_f16(values[i]);
  pack_block(w.block, w.view, 0, 0);
  // 1 + 2^-12 is rounded to 1, 0x1.004p0 stays.
  const Rows x = encode_rows(w.view.form, {1 + 0x1p-12f, 0x1.004p0f, 0x1p10f, 65520, 1, 0}, 2, 3);
  for (auto level : available_levels()) {
    CAPTURE(level);
    const std::vector<float> y = product(select_kernels(level), x, w, contraction(3, 3), 1);
    CHECK(y[0] == 1 + 2 * 0x1.004p0f + 0x1p-14f);
    CHECK(y[1] == -1024 * 0x1.004p0f + 0x1p9f);
    CHECK(y[2] == INFINITY);
    CHECK(std::isnan(y[3]));  // 0 times it
  }
}

TEST_CASE("FP16: rows of a table have the bits of the same numbers in FP32, at every level") {
  Weights halves = any_f16(70, 45, false, 70), floats = as_f32(halves);
  const std::vector<int32_t> tokens = {69, 0, 64, 63, 31, 7, 70};
  for (auto level : available_levels()) {
    CAPTURE(level);
    std::vector<float> seen[2];
    for (int i = 0; i < 2; i++) {
      seen[i].resize(tokens.size() * 45);
      const MatrixView<float> out(seen[i].data(), std::ssize(tokens), 45);
      select_kernels(level).embed({}, {tokens, 0, (i == 0 ? halves : floats).view, out});
    }
    CHECK(std::memcmp(seen[0].data(), seen[1].data(), seen[0].size() * sizeof(float)) == 0);
  }
}

}  // namespace trireme::testing
