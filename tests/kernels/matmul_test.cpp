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

// y of one level, [roots][rows][n] with a padded stride, NaN where nothing was written.
std::vector<float> product(const Kernels& kernels, const Rows& x, const Weights& w, const Contraction& c, int parts) {
  int64_t rows = x.view.rows, n = w.view.n, stride = n + 5;
  auto roots = static_cast<size_t>(c.program.roots);
  Guarded y(roots * static_cast<size_t>(rows * stride) * 4);
  std::fill_n(y.floats(), y.bytes() / 4, NAN);
  each_part(parts, [&](const Launch& launch) {
    kernels.matmul(launch, {x.view, w.view, &c, y.floats(), stride, rows * stride});
  });
  CHECK(y.intact());
  std::vector<float> out;
  for (int64_t i = 0; i < static_cast<int64_t>(roots) * rows; i++) {
    out.insert(out.end(), y.floats() + i * stride, y.floats() + i * stride + n);
    for (int64_t pad = n; pad < stride; pad++) CHECK(std::isnan(y.floats()[i * stride + pad]));
  }
  return out;
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
  for (const WeightFormat& format : kFormats) {
    CAPTURE(format_name(format));
    Shape s{3, 40, 576, 64};
    Weights w = random_weights(format, false, s.n, s.k, 5);
    std::vector<float> values = Source(6).values(static_cast<size_t>(s.rows * s.k));
    Rows x = encode_rows(w.view.form, values, s.rows, s.k);
    std::vector<float> y = product(select_kernels("reference"), x, w, contraction_of(s), 1);
    // Unit roundoff of what a value of x is rounded to, beside that of 64 FP32 sums and a tree of depth 4.
    double rounding = x.view.form == ActivationForm::f32 ? 0 : x.view.form == ActivationForm::bf16 ? 0x1p-9 : 0;
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
        }
        double seen = y[static_cast<size_t>(row * s.n + n)];
        CHECK(std::fabs(seen - exact) <= size * (rounding + 68 * 0x1p-24) + coded * 1.001);
      }
  }
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
                          {1, 200, 1536, 128}};
  Kernels reference = select_kernels("reference");
  uint32_t seed = 10;
  for (const Shape& s : shapes)
    for (const WeightFormat& format : kFormats) {
      Contraction c = contraction_of(s);
      Weights w = random_weights(format, false, s.n, c.total_columns, seed++);
      Source source(seed);
      auto count = static_cast<size_t>(s.rows * c.total_columns);
      Rows x =
          encode_rows(w.view.form, seed % 3 ? source.values(count) : source.extremes(count), s.rows, c.total_columns);
      std::vector<float> expected = product(reference, x, w, c, 1);
      for (auto level : available_levels())
        for (int parts : {1, 2, 3}) {
          std::vector<float> y = product(select_kernels(level), x, w, c, parts);
          CAPTURE(std::string(level) + ", " + format_name(format));
          CAPTURE(s.rows);
          CAPTURE(s.n);
          CAPTURE(c.total_columns);
          CAPTURE(parts);
          CHECK(same_floats(y.data(), expected.data(), expected.size()));
        }
    }
}

TEST_CASE("every level holds the largest codes: all, or one half of each, against x of one size") {
  Kernels reference = select_kernels("reference");
  for (const WeightFormat& format : kFormats) {
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
          for (auto level : available_levels()) {
            CAPTURE(std::string(level) + ", " + format_name(format));
            CAPTURE(codes);
            CAPTURE(rows);
            std::vector<float> y = product(select_kernels(level), x, w, c, 1);
            CHECK(same_floats(y.data(), expected.data(), expected.size()));
          }
        }
  }
}

TEST_CASE("a row's bits do not depend on the rows beside it or on its place among them") {
  constexpr int64_t kRows = 80, kN = 70, kK = 192;
  for (const WeightFormat& format : {plain(DType::f32), plain(DType::bf16), with_minimum(4, 32), quantized(8, 32, 128),
                                     WeightFormat{DType::f32, 8, 16, 128, false}}) {
    Weights w = random_weights(format, false, kN, kK, 3);
    Rows all = encode_rows(w.view.form, Source(4).values(kRows * kK), kRows, kK);
    Contraction c = contraction(kK, 64);
    for (auto level : available_levels()) {
      Kernels kernels = select_kernels(level);
      std::vector<float> whole = product(kernels, all, w, c, 1);
      for (int64_t rows = 1; rows <= 37; rows++) {
        int64_t first = rows * 7 % (kRows - rows);
        Rows some = encode_rows(w.view.form, {}, 0, kK);
        some.view = {all.view.form, all.view.data + first * all.view.row_bytes, rows, kK, all.view.row_bytes};
        std::vector<float> y = product(kernels, some, w, c, 1);
        CAPTURE(level);
        CAPTURE(rows);
        CAPTURE(format_name(format));
        CHECK(same_floats(y.data(), whole.data() + first * kN, y.size()));
      }
    }
  }
}

}  // namespace trireme::testing
