#include "model/row_codec.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

using namespace trireme;

namespace {

struct Encoded {
  std::vector<std::byte> parts[3];
  EncodingError error;
  bool finite = false;

  Encoded(const std::vector<float>& values, const WeightFormat& format) {
    RowParts<std::byte> to;
    for (int part = 0; part < 3; part++) {
      parts[part].resize(row_part_bytes(format, part, std::ssize(values)));
      to.parts[part] = parts[part].data();
    }
    finite = encode_row(values, format, to, &error);
  }
  std::vector<float> decoded(const WeightFormat& format, size_t count) const {
    std::vector<float> values(count);
    decode_row(format, {{parts[0].data(), parts[1].data(), parts[2].data()}}, values);
    return values;
  }
};

std::vector<float> normal(size_t count, float spread) {
  std::mt19937 random(7);
  std::normal_distribution<float> draw(0, spread);
  std::vector<float> values(count);
  for (float& x : values) x = draw(random);
  return values;
}

double relative_rms(const EncodingError& e) { return std::sqrt(e.squares / e.signal); }

}  // namespace

TEST_CASE("values on the grid of a format come back as they were") {
  std::vector<float> eighths(64), nibbles(64);
  for (int i = 0; i < 64; i++) {
    eighths[static_cast<size_t>(i)] = static_cast<float>((i * 37) % 255 - 127) * 0.125f;
    nibbles[static_cast<size_t>(i)] = static_cast<float>(i % 16) * 0.25f - 1.5f;
  }
  eighths[0] = 127 * 0.125f, eighths[32] = -127 * 0.125f;
  CHECK((Encoded(eighths, kInt8).decoded(kInt8, 64) == eighths));
  CHECK((Encoded(nibbles, kInt4).decoded(kInt4, 64) == nibbles));
  const std::vector<float> zeros(32), same(32, 0.375f);
  CHECK((Encoded(zeros, kInt8).decoded(kInt8, 32) == zeros));
  CHECK((Encoded(same, kInt4).decoded(kInt4, 32) == same));
}

TEST_CASE("the error is that of the decoded values, and small") {
  for (float spread : {1e-3f, 0.02f, 3.0f, 1000.0f}) {
    const std::vector<float> values = normal(32 * 200, spread);
    for (const WeightFormat& format : {kInt8, kInt4}) {
      const Encoded encoded(values, format);
      CHECK(encoded.finite);
      double squares = 0;
      const std::vector<float> seen = encoded.decoded(format, values.size());
      for (size_t i = 0; i < values.size(); i++) squares += std::pow(double{values[i]} - double{seen[i]}, 2);
      CHECK(encoded.error.squares == doctest::Approx(squares));
      // Rounding alone, by the largest of 32 normal values (about 2.1 deviations) or their range (about 4.1): 0.0053
      // and 0.079; the search takes a tenth of the latter.
      CHECK(relative_rms(encoded.error) < (format.bits == 8 ? 0.0055 : 0.0725));
    }
  }
}

TEST_CASE("a value far outside does not spoil four bits more than it must") {
  std::vector<float> values = normal(32, 0.02f);
  values[5] = 1;
  const Encoded encoded(values, kInt4);
  double plain = 0;  // by the range alone
  for (float x : values) {
    const double step = (1 + 0.05) / 15;
    plain += std::pow(x - (std::round((x + 0.05) / step) * step - 0.05), 2);
  }
  CHECK(encoded.error.squares < plain);
}

TEST_CASE("FP8: every value on its grid comes back; others to the nearest, ties to the even code") {
  std::vector<float> grid;
  for (int bits = 0; bits < 256; bits++)
    if ((bits & 0x7f) != 0x7f && bits != 0x80) grid.push_back(to_float(E4M3{static_cast<uint8_t>(bits)}) * 0.5f);
  const WeightFormat whole = fp8_of_unit(std::ssize(grid));
  CHECK((Encoded(grid, whole).decoded(whole, grid.size()) == grid));

  const std::vector<float> between = {448, 17, 19, 17.1f, 0x1p-10f, 0x3p-10f, 0x1.1p-10f, -0x1p-10f, 439, -433};
  const WeightFormat format = fp8_of_unit(std::ssize(between));
  const std::vector<float> nearest = {448, 16, 20, 18, 0, 0x1p-8f, 0x1p-9f, -0.0f, 448, -448};
  CHECK((Encoded(between, format).decoded(format, between.size()) == nearest));
}

TEST_CASE("FP8: a unit's row has one scale, the largest value is held, a row of zeros is zeros") {
  std::vector<float> values = normal(100, 0.02f);
  values[40] = -7.3f;
  const WeightFormat format = fp8_of_unit(128);  // the last unit: 28 columns are padding
  const Encoded encoded(values, format);
  CHECK(encoded.parts[1].size() == sizeof(float));
  CHECK(encoded.decoded(format, 100)[40] == doctest::Approx(-7.3f).epsilon(1e-6));
  CHECK(Encoded(std::vector<float>(8), fp8_of_unit(8)).decoded(fp8_of_unit(8), 8) == std::vector<float>(8));
  for (float x : {3.4e38f, 1e-30f, 1e-44f}) {  // 1e-44 / 448 is no FP32 number: zeros
    const Encoded extreme({x, -x, x / 2}, fp8_of_unit(3));
    for (float y : extreme.decoded(fp8_of_unit(3), 3)) CHECK(std::isfinite(y));
  }
  for (float wrong : {INFINITY, NAN}) CHECK_FALSE(Encoded({1, wrong}, fp8_of_unit(2)).finite);
}

TEST_CASE("FP8: rounding to three bits of mantissa is all the error") {
  // Relative to values whose mantissas are spread evenly: steps of 1/8 of the leading bit, so 1/8 / sqrt(12) of it.
  const std::vector<float> values = normal(4096, 1);
  CHECK(relative_rms(Encoded(values, fp8_of_unit(4096)).error) < 0.0275);
}

TEST_CASE("what is not finite is not quantized, and rounds to BF16 as it is") {
  for (float wrong : {INFINITY, -INFINITY, NAN}) {
    std::vector<float> values = normal(32, 1);
    values[31] = wrong;
    CHECK_FALSE(Encoded(values, kInt8).finite);
    CHECK_FALSE(Encoded(values, kInt4).finite);
    const WeightFormat bf16{.type = DType::bf16};
    const Encoded kept(values, bf16);
    CHECK(kept.finite);
    CHECK(std::isfinite(kept.error.squares));
    const float last = kept.decoded(bf16, 32)[31];
    CHECK((std::isnan(wrong) ? std::isnan(last) : last == wrong));
  }
}

TEST_CASE("huge and tiny values keep codes and scales in range") {
  for (float x : {1e30f, 65504.0f * 127, 1e-30f, 6e-8f, 0.0f}) {
    std::vector<float> values(32, x);
    values[0] = -x;
    for (const WeightFormat& format : {kInt8, kInt4}) {
      const Encoded encoded(values, format);
      CHECK(encoded.finite);
      for (float y : encoded.decoded(format, 32)) CHECK(std::isfinite(y));
    }
  }
}
