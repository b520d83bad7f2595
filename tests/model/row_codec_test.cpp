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
