#include "model/units.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace trireme;

namespace {

ModelConfig shape(int heads, int kv_heads, int head_dim, int64_t hidden, int64_t intermediate, int64_t vocab) {
  ModelConfig c;
  c.num_heads = heads, c.num_kv_heads = kv_heads, c.head_dim = head_dim;
  c.hidden_size = hidden, c.intermediate_size = intermediate, c.vocab_size = vocab, c.num_layers = 30;
  return c;
}

}  // namespace

TEST_CASE("SmolLM2-135M: every head is a unit; the MLP has 24 units of 64 columns") {
  UnitTable t = UnitTable::of(shape(9, 3, 64, 576, 1536, 49152), 32);
  CHECK(t.attention_units == 9);
  CHECK(t.heads_per_unit == 1);
  CHECK(t.mlp_units == 24);
  CHECK(t.columns_per_unit == 64);
  CHECK(t.vocab_units == 32);
  CHECK(t.rows_per_unit == 1536);
  CHECK(t.hidden_unit_columns == 128);  // 5 units: an eighth would be 72
}

TEST_CASE("a 70B shape has 32 units; one of its MLP's has 896 columns") {
  UnitTable t = UnitTable::of(shape(64, 8, 128, 8192, 28672, 128256), 32);
  CHECK(t.attention_units == 32);
  CHECK(t.heads_per_unit == 2);
  CHECK(t.mlp_units == 32);
  CHECK(t.columns_per_unit == 896);
  CHECK(t.hidden_unit_columns == 1024);  // 8 units
}

TEST_CASE("a unit's border never cuts a quantization group") {
  for (int group : {1, 16, 32, 64, 128})
    for (int heads : {1, 3, 7, 9, 40, 64, 71})
      for (int head_dim : {16, 40, 64, 80, 96, 128}) {
        UnitTable t = UnitTable::of(shape(heads, 1, head_dim, heads * head_dim, 13 * 128, 1000), group);
        bool one_unit = t.heads_per_unit == heads;
        CHECK((one_unit || t.heads_per_unit * head_dim % group == 0));
        CHECK(t.columns_per_unit % group == 0);
        CHECK(t.hidden_unit_columns % group == 0);
      }
}

TEST_CASE(
    "borders cover all units, every part holds one, and no share is larger than it must be by more than an eighth") {
  for (int units = 1; units <= 40; units++)
    for (int parts = 1; parts <= std::min(units, 16); parts++) {
      CAPTURE(units);
      CAPTURE(parts);
      std::vector<int> b = unit_borders(units, parts);
      CHECK(b.front() == 0);
      CHECK(b.back() == units);
      int largest = 0;
      for (int p = 0; p < parts; p++) {
        CHECK(b[static_cast<size_t>(p)] < b[static_cast<size_t>(p) + 1]);
        largest = std::max(largest, b[static_cast<size_t>(p) + 1] - b[static_cast<size_t>(p)]);
      }
      CHECK(largest <= (units + parts - 1) / parts + (units >= 8 * parts ? 1 : 0));
    }
}

TEST_CASE("a power of two of ranks contributes one root each") {
  for (int units : {9, 24, 30, 32})
    for (int parts : {1, 2, 4, 8})
      for (int p = 0; p < parts; p++) CHECK(maximal_nodes(units, units_of(units, parts, p)).size() == 1);
}

TEST_CASE("more parts than units leave the last ones empty") {
  std::vector<int> b = unit_borders(3, 5);
  CHECK(b == std::vector<int>{0, 1, 2, 3, 3, 3});
}

TEST_CASE("a KV head whose group straddles a border is held by both ranks") {
  ModelConfig c = shape(9, 3, 64, 576, 1536, 49152);
  UnitTable t = UnitTable::of(c, 32);
  RankShare left = RankShare::of(c, t, 2, 0), right = RankShare::of(c, t, 2, 1);
  CHECK(left.num_heads == 5);
  CHECK(left.num_kv_heads == 2);  // heads 0-4 use KV heads 0 and 1
  CHECK(right.first_head == 5);
  CHECK(right.first_kv_head == 1);
  CHECK(right.num_kv_heads == 2);  // heads 5-8 use KV heads 1 and 2
}

TEST_CASE("shares add up to the model, padding left out") {
  ModelConfig c = shape(7, 7, 16, 112, 200, 259);
  UnitTable t = UnitTable::of(c, 1);
  for (int tp = 1; tp <= 7; tp++) {
    int64_t heads = 0, columns = 0, tokens = 0;
    for (int r = 0; r < tp; r++) {
      RankShare s = RankShare::of(c, t, tp, r);
      CHECK(s.first_head == heads);
      CHECK(s.first_token == tokens);
      heads += s.num_heads, columns += s.intermediate, tokens += s.num_tokens;
    }
    CHECK(heads == 7);
    CHECK(columns == 200);
    CHECK(tokens == 259);
  }
}

TEST_CASE("stages: the first hold one layer more, unless the split is given") {
  CHECK(layer_borders(30, 4, {}) == std::vector<int>{0, 8, 16, 23, 30});
  CHECK(layer_borders(30, 3, {9, 9, 12}) == std::vector<int>{0, 9, 18, 30});
}
