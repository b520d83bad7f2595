#include <algorithm>
#include <bit>
#include <utility>

#include "check_levels.h"
#include "kernels/random.h"

namespace trireme::testing {

TEST_CASE("exp_sums: by unit the largest logit, the sum of exp((logit - largest) / temperature), the token's logit") {
  const float x[] = {0, std::log(2.0f), std::log(5.0f), -INFINITY, -INFINITY, -INFINITY, 7};
  const ExpSumRow rows[] = {{x, 1, 101}, {x, 2, 106}};
  ExpSum out[6];
  for (auto level : available_levels()) {
    CAPTURE(level);
    select_kernels(level).exp_sums({}, {rows, 100, 7, 3, out});
    CHECK(out[0].largest == std::log(5.0f));
    CHECK(out[0].sum == doctest::Approx(8.0 / 5));
    CHECK(out[0].logit == std::log(2.0f));
    CHECK(out[1].largest == -INFINITY);
    CHECK(out[1].sum == 0);
    CHECK(out[1].logit == 0);
    CHECK(out[2].largest == 7);
    CHECK(out[2].sum == 1);
    CHECK(out[3].sum == doctest::Approx((std::sqrt(1.0) + std::sqrt(2.0) + std::sqrt(5.0)) / std::sqrt(5.0)));
    CHECK(out[5].logit == 7);
  }
}

TEST_CASE("exp_sums: every level has the reference's bits, whatever the unit's width") {
  for (int32_t unit : kColumns) {
    const int32_t tokens = 3 * unit - unit / 2;
    Source source(5);
    std::vector<float> logits = source.values(static_cast<size_t>(2 * tokens), 20);
    logits[0] = -INFINITY;
    const ExpSumRow rows[] = {{logits.data(), 1, 3}, {logits.data() + tokens, 0.7f, tokens - 1}};
    check_levels(2 * 3 * sizeof(ExpSum), [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
      kernels.exp_sums(launch, {rows, 0, tokens, unit, {reinterpret_cast<ExpSum*>(out.data()), 6}});
    });
  }
}

// Bounds among ties, at zeros of either sign, and with all and none of the tokens before them.
std::vector<RankBound> some_bounds(const std::vector<float>& logits, int32_t first_token) {
  std::vector<RankBound> bounds = {{}, {0.0f, first_token + 40}, {-0.0f, first_token + 40}, {INFINITY, first_token}};
  for (int32_t at : {0, 15, 16, 63, 64, 77})
    for (int32_t more : {0, 1}) bounds.push_back({logits[static_cast<size_t>(at)], first_token + at + more});
  return bounds;
}

TEST_CASE("tokens before a bound: every level samples from them and sums them as the reference does") {
  constexpr int32_t kTokens = 100, kFirst = 37;
  Source source(13);
  std::vector<float> logits = source.values(kTokens, 2);
  for (float& x : logits) x = std::nearbyint(x);
  logits[3] = -0.0f;
  for (const RankBound& before : some_bounds(logits, kFirst))
    for (float temperature : {0.0f, 0.9f}) {
      const SampleRow row{logits.data(), temperature, 5, 9, before};
      check_levels(sizeof(SampledToken), [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
        kernels.sample(launch, {{&row, 1}, kFirst, kTokens, {reinterpret_cast<SampledToken*>(out.data()), 1}});
      });
      const ExpSumRow sums{logits.data(), temperature + 0.1f, -1, before};
      check_levels(4 * sizeof(ExpSum), [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
        kernels.exp_sums(launch, {{&sums, 1}, kFirst, kTokens, 30, {reinterpret_cast<ExpSum*>(out.data()), 4}});
      });
    }
}

TEST_CASE("tokens before a bound have larger logits, or lower ids with equal ones") {
  const std::vector<float> logits = {2, 1, 2, 3, 2};
  for (auto level : available_levels()) {
    CAPTURE(level);
    const auto best = [&](const RankBound& before) {
      const SampleRow row{logits.data(), 0, 0, 0, before};
      SampledToken out;
      select_kernels(level).sample({}, {{&row, 1}, 10, 5, {&out, 1}});
      return out.token;
    };
    CHECK(best({}) == 13);
    CHECK(best({2, 12}) == 13);
    CHECK(best({3, 13}) == -1);
    CHECK(best({3, 14}) == 13);
    const ExpSumRow row{logits.data(), 1, -1, {2, 12}};
    ExpSum sum;
    select_kernels(level).exp_sums({}, {{&row, 1}, 10, 5, 5, {&sum, 1}});
    CHECK(sum.sum == doctest::Approx(1 + std::exp(-1.0)));  // 13 and 10
  }
}

TEST_CASE("best_tokens: the largest logits by id, of equal ones the lower ids, -1 where there are no more") {
  const float x[] = {1, 3, -0.0f, 3, -INFINITY, 0, 3, 2};
  const float* const rows[] = {x};
  const auto best = [&](std::string_view level, int32_t tokens, int32_t count) {
    std::vector<TokenLogit> out(static_cast<size_t>(count), {9, 9});
    select_kernels(level).best_tokens({}, {rows, 10, tokens, count, out});
    std::vector<int32_t> ids;
    for (const TokenLogit& t : out) {
      if (t.token >= 0) CHECK(t.logit == x[t.token - 10]);
      ids.push_back(t.token);
    }
    return ids;
  };
  using Ids = std::vector<int32_t>;
  for (auto level : available_levels()) {
    CAPTURE(level);
    CHECK(best(level, 8, 1) == Ids{11});
    CHECK(best(level, 8, 2) == Ids{11, 13});
    CHECK(best(level, 8, 4) == Ids{11, 13, 16, 17});
    CHECK(best(level, 8, 6) == Ids{10, 11, 12, 13, 16, 17});  // -0 is 0
    CHECK(best(level, 8, 8) == Ids{10, 11, 12, 13, 14, 15, 16, 17});
    CHECK(best(level, 3, 4) == Ids{10, 11, 12, -1});
    CHECK(best(level, 0, 2) == Ids{-1, -1});
  }
}

// Rows that a bound on the best of a row may get wrong. The best are heaped where one thread of 1024, or one lane of a
// vector, finds many; and where equal ones stand from the beginning to the end.
std::vector<std::vector<float>> rows_for_bounds(Source& source, int32_t tokens) {
  const auto count = static_cast<size_t>(tokens);
  const std::vector<float> random = source.values(count, 5);
  std::vector<float> few = random, rising = random, odd = random, low = random, heaped = random;
  for (float& x : few) x = std::nearbyint(x);
  std::sort(rising.begin(), rising.end());
  const std::vector<float> falling(rising.rbegin(), rising.rend());
  for (float& x : odd)
    if (source.below(4) == 0) x = source.below(2) ? INFINITY : -INFINITY;
  for (size_t i = 0; i < count; i++) {
    if (i % 97 != 5) low[i] = -INFINITY;
    if (i % 1024 < 255) heaped[i] += 100;
  }
  std::vector<float> heaped_few = heaped;
  for (float& x : heaped_few) x = x > 50 ? 100 : 0;
  const std::vector<float> equal(count, -0.75f), lowest(count, -INFINITY);
  return {random, few, rising, falling, odd, low, heaped, heaped_few, equal, lowest};
}

TEST_CASE("best_tokens: every level has the reference's, also where many are equal, ascend or are not finite") {
  Source source(11);
  for (int32_t tokens : {1, 17, 255, 300, 1024, 1025, 5000, 20000})
    for (int32_t count : {1, 2, 20, 64, kMostBest}) {
      const auto values = rows_for_bounds(source, tokens);
      std::vector<const float*> rows;
      for (const auto& row : values) rows.push_back(row.data());
      const size_t all = rows.size() * static_cast<size_t>(count);
      CAPTURE(tokens);
      CAPTURE(count);
      check_levels(all * sizeof(TokenLogit), [&](const Kernels& kernels, const Launch& launch, Guarded& out) {
        kernels.best_tokens(launch, {rows, 7, tokens, count, {reinterpret_cast<TokenLogit*>(out.data()), all}});
      });
    }
}

TEST_CASE("best_tokens: a NaN among the logits harms nobody") {
  constexpr int32_t kTokens = 3000;
  const std::vector<float> all(kTokens, kNan);
  std::vector<float> some = all, below = all;
  for (size_t i = 0; i < kTokens; i++) {
    if (i % 3 == 0) some[i] = static_cast<float>(i);
    below[i] = std::bit_cast<float>(i % 1024 < 300 ? ~0u : 0xff800001u);
  }
  const float* const rows[] = {all.data(), some.data(), below.data()};
  for (auto level : available_levels())
    for (int32_t count : {8, kMostBest}) {
      const size_t outs = 3 * static_cast<size_t>(count);
      Guarded out(outs * sizeof(TokenLogit));
      select_kernels(level).best_tokens({},
                                        {rows, 0, kTokens, count, {reinterpret_cast<TokenLogit*>(out.data()), outs}});
      CHECK(out.intact());
    }
}

TEST_CASE("sample: greedy takes the largest, ties by lower id, a NaN nothing") {
  std::vector<float> logits = {1, 3, 2, 3, -5};
  for (auto level : available_levels()) {
    SampledToken out;
    SampleRow row{logits.data(), 0, 0, 0};
    std::vector<SampledToken> parts(kSampleParts);
    auto sample = [&](int32_t tokens) {
      SampledToken by_parts;
      select_kernels(level).sample({}, {{&row, 1}, 10, tokens, {&out, 1}});
      select_kernels(level).sample({}, {{&row, 1}, 10, tokens, {&by_parts, 1}, parts});
      CHECK(by_parts.token == out.token);
      CHECK(by_parts.logit == out.logit);
      return out.token;
    };
    CHECK(sample(5) == 11);
    CHECK(out.score == 3);
    CHECK(out.logit == 3);
    CHECK(sample(0) == -1);
    std::vector<float> bad = {1, kNan, 5};
    row.logits = bad.data();
    CHECK(sample(3) == -1);
    CHECK(sample(1) == 10);
  }
}

TEST_CASE("sample: every level and every split of the vocabulary gives the reference's token and score") {
  constexpr int32_t kTokens = 1000;
  Source source(9);
  std::vector<float> logits = source.values(kTokens, 3);
  for (float& x : logits) x = std::nearbyint(x * 4) / 4;  // ties
  for (float temperature : {0.0f, 0.3f, 1.0f, 2.5f})
    for (int32_t position : {0, 1, 77, 100000}) {
      SampleRow row{logits.data(), temperature, 0x0123456789abcdefull, position};
      SampledToken expected;
      select_kernels("reference").sample({}, {{&row, 1}, 0, kTokens, {&expected, 1}});
      for (auto level : available_levels())
        for (int32_t cut : {0, 1, 3, 17, 64, 333, 999, 1000}) {
          SampleRow left = row, right = row;
          right.logits += cut;
          SampledToken a, b;
          std::vector<SampledToken> parts(kSampleParts, {NAN, 5, NAN});
          select_kernels(level).sample({}, {{&left, 1}, 0, cut, {&a, 1}});
          select_kernels(level).sample({}, {{&right, 1}, cut, kTokens - cut, {&b, 1}, parts});
          SampledToken best = a.token < 0 || (b.token >= 0 && b.score > a.score) ? b : a;
          CAPTURE(level);
          CAPTURE(cut);
          CHECK(best.token == expected.token);
          CHECK(same(best.score, expected.score));
        }
    }
}

TEST_CASE("sample: a NaN anywhere in a row leaves it without a token, whoever has its part") {
  constexpr int32_t kTokens = 20000;
  std::vector<float> logits = Source(4).values(kTokens, 3);
  SampleRow row{logits.data(), 0, 0, 0};
  for (auto level : available_levels())
    for (int32_t at : {0, 255, 256, 9999, kTokens - 1}) {
      const float was = std::exchange(logits[static_cast<size_t>(at)], kNan);
      SampledToken out;
      std::vector<SampledToken> parts(kSampleParts);
      select_kernels(level).sample({}, {{&row, 1}, 0, kTokens, {&out, 1}, parts});
      CHECK(out.token == -1);
      logits[static_cast<size_t>(at)] = was;
      select_kernels(level).sample({}, {{&row, 1}, 0, kTokens, {&out, 1}, parts});
      CHECK(out.token == std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
}

TEST_CASE("sample draws in proportion to softmax(logits / temperature)") {
  constexpr int kDraws = 20000;
  const float logits[] = {0, 1, 2, -1};
  int counts[4] = {};
  std::vector<SampleRow> rows;
  for (int i = 0; i < kDraws; i++) rows.push_back({logits, 2.0f, 42, i});
  std::vector<SampledToken> out(kDraws);
  select_kernels(available_levels().back()).sample({}, {rows, 0, 4, out});
  for (const SampledToken& token : out) counts[token.token]++;
  double total = 0;
  for (float x : logits) total += std::exp(x / 2.0);
  for (int i = 0; i < 4; i++) {
    double p = std::exp(logits[i] / 2.0) / total, deviation = std::sqrt(kDraws * p * (1 - p));
    CHECK(std::fabs(counts[i] - kDraws * p) < 4.5 * deviation);
  }
}

}  // namespace trireme::testing
