// What `bench quality` computes, by numbers made by hand.
#include <doctest/doctest.h>

#include <cmath>

#include "quality/divergence.h"
#include "quality/logit_comparer.h"
#include "quality/text_window.h"
#include "quality/window_mean.h"

using namespace trireme;

namespace {

using Logits = std::vector<float>;
using Ids = std::vector<int32_t>;

float log_of(double p) { return static_cast<float>(std::log(p)); }

Ids counting(int32_t tokens) {
  Ids ids;
  for (int32_t i = 0; i < tokens; i++) ids.push_back(100 + i);
  return ids;
}

}  // namespace

TEST_CASE("KL of two predictions, whatever is added to their logits") {
  // (3/4, 1/4) against (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2).
  const Logits reference = {log_of(0.75), log_of(0.25)}, tested = {log_of(0.5), log_of(0.5)};
  const double expected = 0.75 * std::log(1.5) + 0.25 * std::log(0.5);
  CHECK(divergence(reference, tested).kl == doctest::Approx(expected).epsilon(1e-7));
  const Logits shifted = {tested[0] + 7, tested[1] + 7};
  CHECK(divergence(reference, shifted).kl == doctest::Approx(expected).epsilon(1e-6));
  // The other way round it is another number: -1/2 ln(3/2) - 1/2 ln(1/2).
  CHECK(divergence(tested, reference).kl == doctest::Approx(-0.5 * std::log(1.5) - 0.5 * std::log(0.5)).epsilon(1e-7));
}

TEST_CASE("KL over a vocabulary that is no multiple of the lanes, with tokens that are as good as impossible") {
  for (size_t vocab : {1u, 7u, 8u, 9u, 259u}) {
    Logits reference(vocab), tested(vocab);
    for (size_t t = 0; t < vocab; t++) {
      reference[t] = static_cast<float>(t % 13) - 0.3f * static_cast<float>(t % 5);
      tested[t] = reference[t] + 0.01f * static_cast<float>(t % 7);
    }
    if (vocab > 8) reference[3] = tested[3] = -2000;
    double sum_r = 0, sum_t = 0, expected = 0;
    for (size_t t = 0; t < vocab; t++) sum_r += std::exp(double{reference[t]}), sum_t += std::exp(double{tested[t]});
    for (size_t t = 0; t < vocab; t++) {
      const double log_r = reference[t] - std::log(sum_r), log_t = tested[t] - std::log(sum_t);
      expected += std::exp(log_r) * (log_r - log_t);
    }
    INFO(vocab);
    CHECK(divergence(reference, tested).kl == doctest::Approx(expected).epsilon(1e-9));
    CHECK(divergence(reference, reference).kl == 0.0);
  }
}

TEST_CASE("the likeliest token, ties to the lower id") {
  const Divergence d = divergence(Logits{1, 5, 5}, Logits{2, 1, 3});
  CHECK(d.reference_top == 1);
  CHECK(d.tested_top == 2);
}

TEST_CASE("a window's comparison adds up its scored positions alone, and remembers the worst") {
  LogitComparer comparer(4, 2);  // four tokens: positions 0, 1, 2 predict
  comparer.begin(2);
  const Logits even = {0, 0}, odd = {log_of(0.75), log_of(0.25)}, other = {log_of(0.25), log_of(0.75)};
  for (int32_t position : {0, 1, 2}) comparer.keep(position, odd);
  comparer.compare(0, even);  // of token 1, which is context
  comparer.compare(1, odd);
  comparer.compare(2, other);
  comparer.begin(1);  // a shorter one
  comparer.keep(0, even);
  comparer.compare(0, even);
  REQUIRE(comparer.windows().size() == 2);
  const Comparison& first = comparer.windows()[0];
  CHECK(first.kl == doctest::Approx(0.5 * std::log(3.0)).epsilon(1e-6));
  CHECK(first.agreements == 1);
  CHECK(first.worst_index == 3);
  CHECK(first.worst_reference_top == 0);
  CHECK(first.worst_top == 1);
  CHECK(comparer.windows()[1].kl == 0.0);
  CHECK(comparer.windows()[1].agreements == 1);
  CHECK(LogitComparer::bytes(512, 49152) == int64_t{511} * 49152 * 4);
}

TEST_CASE("the mean is over positions, and its interval from the spread of the windows") {
  // Means 1, 2 and 3 of two positions each: m = 2, residuals -2, 0, 2; sqrt(8 * 3 / 2) / 6 = 0.57735.
  const WindowSum equal[] = {{2, 2}, {4, 2}, {6, 2}};
  CHECK(mean_over(equal).mean == doctest::Approx(2));
  CHECK(mean_over(equal).margin.value() == doctest::Approx(4.302653 * 0.5773503));
  // Sums 1 and 9 over 1 and 3 positions: m = 2.5, residuals -1.5 and 1.5; sqrt(4.5 * 2 / 1) / 4 = 0.75.
  const WindowSum uneven[] = {{1, 1}, {9, 3}};
  CHECK(mean_over(uneven).mean == doctest::Approx(2.5));
  CHECK(mean_over(uneven).margin.value() == doctest::Approx(12.706205 * 0.75));
  const WindowSum same[] = {{3, 3}, {5, 5}};
  CHECK(mean_over(same).margin.value() == 0.0);
  const WindowSum one[] = {{3, 2}};
  CHECK(mean_over(one).mean == doctest::Approx(1.5));
  CHECK_FALSE(mean_over(one).margin.has_value());
}

TEST_CASE("Student's t, from tables") {
  CHECK(student_t(1) == doctest::Approx(12.7062).epsilon(1e-5));
  CHECK(student_t(20) == doctest::Approx(2.08596).epsilon(1e-5));
  CHECK(student_t(21) == doctest::Approx(2.07961).epsilon(1e-4));
  CHECK(student_t(60) == doctest::Approx(2.00030).epsilon(1e-5));
  CHECK(student_t(1000000) == doctest::Approx(1.95996).epsilon(1e-5));
}

TEST_CASE("windows score every token of the text once, with context before it") {
  for (int32_t bos : {-1, 7})
    for (int32_t tokens : {1, 2, 9, 10, 11, 16, 17, 18, 100})
      for (int64_t unscored : {0, 1, 3, 8}) {
        const Ids text = counting(tokens);
        std::vector<int> scored(text.size());
        for (const TextWindow& window : text_windows(text, bos, 10, unscored)) {
          CHECK(window.tokens.size() <= 10);
          CHECK(window.positions() > 0);
          CHECK((bos < 0 || window.tokens[0] == bos));
          for (int64_t i = bos < 0 ? 0 : 1; i < std::ssize(window.tokens); i++) {
            const int64_t at = i + window.offset;
            REQUIRE(window.tokens[static_cast<size_t>(i)] == text[static_cast<size_t>(at)]);
            if (i < window.first_scored) continue;
            scored[static_cast<size_t>(at)]++;
            CHECK((at < 10 || i >= unscored));
          }
        }
        INFO(bos, " ", tokens, " ", unscored);
        // Without BOS the first token of the text has nothing before it; without context, of every window.
        for (int32_t at = 0; at < tokens; at++)
          CHECK(scored[static_cast<size_t>(at)] == (bos < 0 && (unscored == 0 ? at % 10 == 0 : at == 0) ? 0 : 1));
      }
  CHECK(text_windows({}, -1, 10, 1).empty());
  CHECK(text_windows({}, 7, 10, 1).empty());
}
