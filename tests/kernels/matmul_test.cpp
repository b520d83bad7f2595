#include <doctest/doctest.h>

#include <string>

#include "fixture.h"

namespace trireme::testing {

namespace {

struct Shape {
  int64_t rows, n, k, unit;
  UnitRange units{0, 0};  // empty: all
};

Contraction contraction_of(const Shape& s) {
  return s.units.size() > 0 ? contraction(s.k, s.unit, s.units) : contraction(s.k, s.unit);
}

std::byte without_sign(std::byte byte, bool has_sign) { return has_sign ? byte & std::byte{0x7f} : byte; }

// The reference's product of |x| and |w|, which are BF16, FP16 or FP8: what errors of sums in another order are
// measured by.
std::vector<float> sizes(const Rows& x, const Weights& w, const Contraction& c) {
  Rows plus_x = encode_rows(w.view.form, std::vector<float>(static_cast<size_t>(x.view.rows * x.view.columns)),
                            x.view.rows, x.view.columns);
  const bool of_two_bytes = x.view.form == ActivationForm::bf16 || x.view.form == ActivationForm::f16;
  for (int64_t i = 0; i < x.view.rows * x.view.row_bytes; i++) {
    const bool is_code = i % static_cast<int64_t>(sizeof(E4M3Group)) < kInputGroup;
    plus_x.view.data[i] = without_sign(x.view.data[i], of_two_bytes ? i % 2 == 1 : is_code);
  }
  Weights plus_w = random_weights(w.format, false, w.view.n, w.view.k, 1);
  for (size_t i = 0; i < w.values.size(); i++)
    plus_w.values[i] = without_sign(w.values[i], w.format.e4m3 || i % 2 == 1);
  for (size_t i = 0; i < w.scales.size(); i++) plus_w.scales[i] = without_sign(w.scales[i], i % 4 == 3);
  pack_block(plus_w.block, plus_w.view, 0, 0);
  return product(select_kernels("reference"), plus_x, plus_w, c, 1);
}

// Whether y may be tensor cores' sums. They add in an order of their own and drop bits that they shift out of 24; of
// FP8 Hopper's keep some 14 (DeepSeek-V3, 2024, section 3.3.2).
bool near(const Rows& x, const Weights& w, const Contraction& c, const std::vector<float>& y,
          const std::vector<float>& expected) {
  const float roundoff = x.view.form == ActivationForm::e4m3 ? 0x1p-12f : 0x1p-16f;
  const std::vector<float> size = sizes(x, w, c);
  bool all = true;
  for (size_t i = 0; i < y.size(); i++)
    all = all && (std::isfinite(expected[i]) ? std::fabs(y[i] - expected[i]) <= size[i] * roundoff + 0x1p-120f
                                             : !std::isfinite(y[i]));
  return all;
}

// y of a level against the reference's: the same bits, or near where another order of sums is a level's right.
void check_level(std::string_view level, const Rows& x, const Weights& w, const Contraction& c,
                 const std::vector<float>& y, const std::vector<float>& expected) {
  if (has_bits_of_reference(level, x.view.form)) {
    CHECK(same_floats(y.data(), expected.data(), expected.size()));
    return;
  }
  CHECK(near(x, w, c, y, expected));
}

}  // namespace

TEST_CASE("a product by hand: two rows, two outputs, three columns") {
  Weights w = random_weights(plain(DType::f32), false, 2, 3, 1);
  const float values[] = {1, 2, 3, -1, 0.5f, 4};
  for (int64_t i = 0; i < 6; i++) reinterpret_cast<float*>(w.values.data())[i] = values[i];
  pack_block(w.block, w.view, 0, 0);
  Rows x = encode_rows(w.view.form, {1, 10, 100, 2, 0, -1}, 2, 3);
  for (auto level : available_levels())
    CHECK(product(select_kernels(level), x, w, contraction(3, 2), 1) == std::vector<float>{321, 404, -1, -6});
}

TEST_CASE("the reference agrees with FP64 within its accumulation length") {
  for (const Format& format : kFormats) {
    CAPTURE(name_of(format));
    Shape s{3, 40, 576, 64};
    Weights w = random_weights(format, false, s.n, s.k, 5);
    std::vector<float> values = Source(6).values(static_cast<size_t>(s.rows * s.k));
    Rows x = encode_rows(w.view.form, values, s.rows, s.k);
    std::vector<float> y = product(select_kernels("reference"), x, w, contraction_of(s), 1);
    // Unit roundoff of what a value of x is rounded to, beside that of 64 FP32 sums and a tree of depth 4.
    const bool e4m3 = x.view.form == ActivationForm::e4m3;
    const bool f16 = x.view.form == ActivationForm::f16;
    double rounding = x.view.form == ActivationForm::bf16 ? 0x1p-9 : f16 ? 0x1p-12 : e4m3 ? 0x1p-4 : 0;
    for (int64_t row = 0; row < s.rows; row++)
      for (int64_t n = 0; n < s.n; n++) {
        double exact = 0, size = 0, coded = 0;
        for (int64_t k = 0; k < s.k; k++) {
          double a = values[static_cast<size_t>(row * s.k + k)], b = packed_value(w.view, n, k);
          exact += a * b;
          size += std::fabs(a * b);
          if (x.view.form == ActivationForm::int8)  // half a code is lost at most
            coded +=
                std::fabs(b) * reinterpret_cast<Int8Group*>(x.view.data + row * x.view.row_bytes)[k / 32].scale / 2;
          if (e4m3)  // half of the smallest code
            coded += std::fabs(b) * reinterpret_cast<E4M3Group*>(x.view.data + row * x.view.row_bytes)[k / 32].scale *
                     0x1p-10;
        }
        double seen = y[static_cast<size_t>(row * s.n + n)];
        CHECK(std::fabs(seen - exact) <= size * (rounding + 68 * 0x1p-24) + coded * 1.001);
      }
  }
}

TEST_CASE("what is near tells sums in FP32 from sums in FP16") {
  const Shape s{3, 40, 64, 64};
  const Weights w = random_weights(plain(DType::bf16), false, s.n, s.k, 5);
  const Rows x = encode_rows(w.view.form, Source(6).values(static_cast<size_t>(s.rows * s.k)), s.rows, s.k);
  const std::vector<float> y = product(select_kernels("reference"), x, w, contraction_of(s), 1);
  std::vector<float> in_f16;
  for (float v : y) in_f16.push_back(to_float(to_f16(v)));
  CHECK(near(x, w, contraction_of(s), y, y));
  CHECK(!near(x, w, contraction_of(s), in_f16, y));
}

TEST_CASE("every level gives the reference's bits: odd sizes, tails, roots, parts, row counts") {
  const Shape shapes[] = {{1, 1, 1, 1},
                          {2, 63, 33, 32},
                          {5, 65, 96, 32},
                          {3, 31, 576, 64},
                          {7, 130, 100, 64},
                          {37, 64, 160, 32},
                          {66, 70, 64, 64},
                          {2, 97, 992, 32, {3, 17}},
                          {4, 64, 320, 32, {1, 10}},
                          {70, 33, 288, 32, {2, 9}},
                          {1, 200, 1536, 128},
                          {65, 140, 1024, 32},  // a GPU's tile with all sums that may wait at once
                          {34, 20, 2048, 32},   // one more
                          {130, 97, 160, 32},
                          {34, 33, 1024, 32, {1, 32}},
                          {12, 129, 96, 32}};
  Kernels reference = select_kernels("reference");
  uint32_t seed = 10;
  for (const Shape& s : shapes)
    for (const Format& format : kFormats) {
      Contraction c = contraction_of(s);
      Weights w = random_weights(format, false, s.n, c.total_columns, seed++);
      Source source(seed);
      auto count = static_cast<size_t>(s.rows * c.total_columns);
      Rows x = encode_rows(w.view.form, seed % 3 ? source.values(count) : source.extremes(count, format.inputs.f16),
                           s.rows, c.total_columns);
      std::vector<float> expected = product(reference, x, w, c, 1);
      for (auto level : levels_of(format))
        for (int parts : teams_of(level, {1, 2, 3})) {
          std::vector<float> y = product(select_kernels(level), x, w, c, parts);
          CAPTURE(std::string(level) + ", " + name_of(format));
          CAPTURE(s.rows);
          CAPTURE(s.n);
          CAPTURE(c.total_columns);
          CAPTURE(parts);
          check_level(level, x, w, c, y, expected);
        }
    }
}

TEST_CASE("every level gives the reference's bits: layers so wide that a GPU takes larger blocks") {
  for (const Format& format : {Format(plain(DType::bf16)), f16_inputs(), Format(with_minimum(4, 32)),
                               Format(quantized(8, 32, 128)), Format(fp8(64)), fp8_inputs(64)})
    for (int64_t rows : {1, 9}) {
      const Contraction c = contraction(64, 32);
      Weights w = random_weights(format, false, 16390, 64, 6);
      Rows x = encode_rows(w.view.form, Source(7).values(static_cast<size_t>(rows * 64)), rows, 64);
      const std::vector<float> expected = product(select_kernels("reference"), x, w, c, 1);
      for (auto level : levels_of(format)) {
        CAPTURE(std::string(level) + ", " + name_of(format));
        CAPTURE(rows);
        check_level(level, x, w, c, product(select_kernels(level), x, w, c, 1), expected);
      }
    }
}

TEST_CASE("BF16, FP16 and FP8: units that begin at any even column") {
  for (const Format& format : {Format(plain(DType::bf16)), f16_inputs(), Format(fp8(20)), Format(fp8(6))})
    for (int64_t rows : {1, 9, 20, 40, 70})
      for (const int64_t unit : {20, 6}) {
        if (format.e4m3 && format.group != unit) continue;
        const int64_t k = 3 * unit + 2;
        const Contraction c = contraction(k, unit);
        Weights w = random_weights(format, false, 35, k, 4);
        Rows x = encode_rows(w.view.form, Source(5).values(static_cast<size_t>(rows * k)), rows, k);
        const std::vector<float> expected = product(select_kernels("reference"), x, w, c, 1);
        for (auto level : levels_of(format)) {
          CAPTURE(std::string(level) + ", " + name_of(format));
          CAPTURE(rows);
          CAPTURE(unit);
          check_level(level, x, w, c, product(select_kernels(level), x, w, c, 1), expected);
        }
      }
}

TEST_CASE("every level holds the largest codes: all, or one half of each, against x of one size") {
  Kernels reference = select_kernels("reference");
  for (const Format& format : kFormats) {
    if (!format.quantized()) continue;
    Weights w = random_weights(format, false, 49, 128, 8);
    for (int codes : {0xff, 0x0f, 0xf0})
      for (float size : {1.0f, -1.0f})
        for (int64_t rows : {1, 2, 3, 4, 5}) {
          std::fill(w.values.begin(), w.values.end(), static_cast<std::byte>(codes));
          pack_block(w.block, w.view, 0, 0);
          Rows x = encode_rows(w.view.form, std::vector<float>(static_cast<size_t>(rows * 128), size), rows, 128);
          Contraction c = contraction(128, 64);
          std::vector<float> expected = product(reference, x, w, c, 1);
          for (auto level : levels_of(format)) {
            CAPTURE(std::string(level) + ", " + name_of(format));
            CAPTURE(codes);
            CAPTURE(rows);
            std::vector<float> y = product(select_kernels(level), x, w, c, 1);
            check_level(level, x, w, c, y, expected);
          }
        }
  }
}

TEST_CASE("a row's bits do not depend on the rows beside it or on its place among them") {
  constexpr int64_t kRows = 80, kN = 70, kK = 192;
  for (const Format& format :
       {Format(plain(DType::f32)), Format(plain(DType::bf16)), f16_inputs(), Format(with_minimum(4, 32)),
        Format(quantized(8, 32, 128)), Format({DType::f32, 8, 16, 128, false}), Format(fp8(kK)), fp8_inputs(kK)}) {
    Weights w = random_weights(format, false, kN, kK, 3);
    Rows all = encode_rows(w.view.form, Source(4).values(kRows * kK), kRows, kK);
    Contraction c = contraction(kK, 64);
    for (auto level : levels_of(format)) {
      Kernels kernels = select_kernels(level);
      std::vector<float> whole = product(kernels, all, w, c, 1);
      for (int64_t rows = 1; rows <= 37; rows++) {
        int64_t first = rows * 7 % (kRows - rows);
        Rows some = encode_rows(w.view.form, {}, 0, kK);
        some.view = {all.view.form, all.view.data + first * all.view.row_bytes, rows, kK, all.view.row_bytes};
        std::vector<float> y = product(kernels, some, w, c, 1);
        CAPTURE(level);
        CAPTURE(rows);
        CAPTURE(name_of(format));
        CHECK(same_floats(y.data(), whole.data() + first * kN, y.size()));
      }
    }
  }
}

TEST_CASE("BF16: a sum is flushed when it is subnormal after rounding, not before") {
  Weights w = random_weights(plain(DType::bf16), false, 1, 2, 1);
  auto sum_of = [&](const Kernels& kernels, float even) {  // 2^-126, then even * 2^-76
    const BF16 weights[] = {to_bf16(0x1p-76f), to_bf16(0x1p-63f)};
    std::memcpy(w.values.data(), weights, sizeof weights);
    pack_block(w.block, w.view, 0, 0);
    return product(kernels, encode_rows(PackedForm::bf16, {even, 0x1p-63f}, 1, 2), w, contraction(2, 2), 1)[0];
  };
  for (auto level : available_levels()) {
    if (!has_bits_of_reference(level, ActivationForm::bf16)) continue;
    const Kernels kernels = select_kernels(level);
    CHECK(sum_of(kernels, -0x1p-76f) == 0x1p-126f);
    CHECK(sum_of(kernels, -0x1p-75f) == 0x1p-126f);  // a tie
    CHECK(sum_of(kernels, -0x1p-74f) == 0);
    CHECK(sum_of(kernels, 0x1p-73f) == 0x1.000002p-126f);
  }
}

TEST_CASE("FP8: a scale for each unit, or one for the whole row, multiplies the sums of units; by hand") {
  // Rows of codes 1, 2, 0.5 and 448; units of two columns.
  const uint8_t codes[] = {0x38, 0x40, 0x30, 0x7e};
  Rows x = encode_rows(PackedForm::e4m3, {1, 10, 100, 1}, 1, 4);
  for (auto level : available_levels()) {
    Weights by_unit = random_weights(fp8(2), false, 1, 4, 1), by_row = random_weights(fp8(4), false, 1, 4, 1);
    for (Weights* w : {&by_unit, &by_row}) {
      std::memcpy(w->values.data(), codes, 4);
      reinterpret_cast<float*>(w->scales.data())[0] = 3;
    }
    reinterpret_cast<float*>(by_unit.scales.data())[1] = -0.25f;
    pack_block(by_unit.block, by_unit.view, 0, 0), pack_block(by_row.block, by_row.view, 0, 0);
    CHECK(product(select_kernels(level), x, by_unit, contraction(4, 2), 1)[0] == 21 * 3 + 498 * -0.25f);
    CHECK(product(select_kernels(level), x, by_row, contraction(4, 2), 1)[0] == (21 + 498) * 3);
  }
}

TEST_CASE("FP8 inputs: each group of 32 brings its scale, then the unit its weights'; by hand") {
  std::vector<float> x(96);
  x[0] = 448, x[1] = -224, x[2] = 1;  // codes as they are, scale 1
  x[33] = 896, x[34] = 2;             // codes 448 and 1, scale 2
  x[64] = 0x1p-101f;                  // a group too small to be coded
  for (auto level : levels_of(fp8_inputs(32)))
    for (int columns : {32, 96}) {
      Weights w = random_weights(fp8_inputs(columns), false, 1, 96, 1);
      std::fill(w.values.begin(), w.values.end(), std::byte{0x38});   // 1
      w.values[1] = std::byte{0xc0}, w.values[33] = std::byte{0x30};  // -2, 0.5
      const float scales[] = {3, columns == 96 ? 3 : -0.25f, 3};
      std::memcpy(w.scales.data(), scales, w.scales.size());
      pack_block(w.block, w.view, 0, 0);
      const float y = product(select_kernels(level), encode_rows(w.view.form, x, 1, 96), w, contraction(96, 32), 1)[0];
      CHECK(y == (448 + 448 + 1) * scales[0] + (224 + 1) * 2 * scales[1]);
    }
}

TEST_CASE("FP8: a NaN among the codes, anywhere in a unit, makes the sums with it NaN, and no others") {
  for (int64_t column : {0, 1, 63, 64, 95})
    for (const auto& [code, inputs] : {std::pair{0x7f, false}, {0xff, false}, {0x7f, true}, {0xff, true}}) {
      Weights w = random_weights(Format(fp8(32), {.e4m3 = inputs}), false, 70, 96, 2);
      w.values[static_cast<size_t>(66 * 96 + column)] = static_cast<std::byte>(code);
      pack_block(w.block, w.view, 0, 0);
      Rows x = encode_rows(w.view.form, Source(3).values(96), 1, 96);
      for (auto level : levels_of(w.format)) {
        std::vector<float> y = product(select_kernels(level), x, w, contraction(96, 32), 1);
        for (size_t n = 0; n < 70; n++) CHECK(std::isnan(y[n]) == (n == 66));
      }
    }
}

}  // namespace trireme::testing
