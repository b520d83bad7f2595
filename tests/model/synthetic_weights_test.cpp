#include "model/synthetic_weights.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/decoded.h"
#include "model/shapes.h"

using namespace trireme;

namespace {

ModelConfig small() {
  ModelConfig c = get_shape("smollm2-135m").config();
  c.num_layers = 2, c.vocab_size = 1024;
  c.layer_ropes.resize(2), c.layer_windows.resize(2);
  return c;
}

using Bytes = std::vector<std::byte>;

// The bytes of all parts of some units, one after the other.
std::array<Bytes, 3> bytes_of(const SyntheticWeights& weights, const TensorInfo& t, UnitRange units) {
  std::array<Bytes, 3> parts;
  int next = units.begin;
  weights.read({{&t, units, [&](UnitRange run, auto values, auto scales, auto minimums) {
                   CHECK(run.begin == next);
                   next = run.end;
                   const std::span<const std::byte> made[] = {values, scales, minimums};
                   for (size_t p = 0; p < 3; p++) parts[p].insert(parts[p].end(), made[p].begin(), made[p].end());
                 }}});
  CHECK(next == units.end);
  return parts;
}

}  // namespace

TEST_CASE("whoever holds a unit holds the same bytes") {
  for (WeightChoice choice : {WeightChoice::bf16, WeightChoice::int4}) {
    const SyntheticWeights one("one", small(), choice), other("other", small(), choice);
    CHECK(one.digest() == other.digest());
    for (const TensorInfo& t : one.tensors()) {
      CAPTURE(t.name);
      const auto all = bytes_of(one, t, {0, t.units});
      for (UnitRange some : {UnitRange{0, 1}, UnitRange{t.units / 3, t.units}, UnitRange{t.units - 1, t.units}}) {
        const auto held = bytes_of(other, other.get_tensor(t.name), some);
        for (size_t p = 0; p < 3; p++) {
          const size_t unit = t.parts[p].unit_bytes, first = unit * static_cast<size_t>(some.begin);
          REQUIRE(held[p].size() == unit * static_cast<size_t>(some.size()));
          CHECK(std::equal(held[p].begin(), held[p].end(), all[p].begin() + static_cast<ptrdiff_t>(first)));
        }
      }
    }
  }
}

TEST_CASE("strips of a unit are its bytes") {
  for (WeightChoice choice : {WeightChoice::bf16, WeightChoice::int4, WeightChoice::fp8}) {
    const SyntheticWeights weights("small", small(), choice);
    for (const char* name : {"embedding", "layers.1.mlp.gate", "layers.1.mlp.down"}) {
      CAPTURE(name);
      const TensorInfo& t = weights.get_tensor(name);
      const auto whole = bytes_of(weights, t, {1, 2});
      std::array<Bytes, 3> strips;
      std::vector<WeightSource::Request> requests;
      const int64_t cut[] = {0, 8, t.unit_rows - 8, t.unit_rows};
      for (size_t i = 0; i < 3; i++) {
        const auto keep = [&strips](UnitRange run, auto values, auto scales, auto minimums) {
          CHECK(run == UnitRange{1, 2});
          const std::span<const std::byte> made[] = {values, scales, minimums};
          for (size_t p = 0; p < 3; p++) strips[p].insert(strips[p].end(), made[p].begin(), made[p].end());
        };
        requests.push_back({&t, {1, 2}, keep, [] {}, cut[i], cut[i + 1] - cut[i]});
      }
      weights.read(requests);
      for (size_t p = 0; p < 3; p++) CHECK(strips[p] == whole[p]);
    }
  }
}

TEST_CASE("units and tensors differ; so do the digests of other shapes and formats") {
  const SyntheticWeights weights("small", small(), WeightChoice::bf16);
  const TensorInfo& q = weights.get_tensor("layers.0.attention.q");
  CHECK(bytes_of(weights, q, {0, 1})[0] != bytes_of(weights, q, {1, 2})[0]);
  CHECK(bytes_of(weights, q, {0, 1})[0] != bytes_of(weights, weights.get_tensor("layers.1.attention.q"), {0, 1})[0]);
  CHECK(weights.digest() != SyntheticWeights("small", small(), WeightChoice::int8).digest());
  CHECK(weights.digest() != SyntheticWeights("other", get_shape("smollm2-135m").config(), WeightChoice::bf16).digest());
}

TEST_CASE("values are small, about zero, and not all alike; norms are 1") {
  for (WeightChoice choice :
       {WeightChoice::bf16, WeightChoice::fp32, WeightChoice::int8, WeightChoice::int4, WeightChoice::fp8}) {
    CAPTURE(static_cast<int>(choice));
    const SyntheticWeights weights("small", small(), choice);
    for (const TensorInfo& t : weights.tensors()) {
      CAPTURE(t.name);
      const std::vector<float> values = testkit::decode(weights, t);
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      if (t.name.ends_with("norm")) {
        CHECK((*low == 1 && *high == 1));
        continue;
      }
      const double count = static_cast<double>(values.size());
      const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
      const double square = std::inner_product(values.begin(), values.end(), values.begin(), 0.0) / count;
      CHECK((*low >= -0.04 && *high <= 0.04));
      CHECK(std::abs(mean) < 1e-3);
      CHECK(std::sqrt(square) == doctest::Approx(0.011).epsilon(0.25));
    }
  }
}
