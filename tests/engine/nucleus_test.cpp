// Which tokens top_k and top_p leave, by numbers made by hand.
#include "engine/nucleus.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

using namespace trireme;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float log_of(double p) { return static_cast<float>(std::log(p)); }

RankedTokens ranked(const std::vector<float>& logits) {
  RankedTokens tokens;
  tokens.add(logits, 10);
  return tokens;
}

// All of a vocabulary in one unit.
double total(const std::vector<float>& logits, float largest, float temperature) {
  double sum = 0;
  for (float l : logits) sum += std::exp((l - largest) / temperature);
  return sum;
}

}  // namespace

TEST_CASE("tokens rank by logit, of equal ones the lower id first, however far somebody asks") {
  std::vector<float> logits;
  for (int i = 0; i < 500; i++) logits.push_back(static_cast<float>(i * 37 % 100));
  RankedTokens tokens = ranked(logits);
  const auto ranks_before = [](const TokenLogit& a, const TokenLogit& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  };
  for (size_t i = 1; i < 500; i++) {
    const TokenLogit before = tokens[i - 1];
    CHECK(ranks_before(before, tokens[i]));
  }
  CHECK(tokens.size() == 500);
}

TEST_CASE("best tokens of several ranks rank together; those that are none are left out") {
  RankedTokens tokens;
  const TokenLogit one[] = {{2, 4}, {5, 6}, {0, -1}}, other[] = {{5, 3}, {-kInfinity, 9}};
  tokens.add(one);
  tokens.add(other);
  CHECK(tokens.size() == 4);
  CHECK(tokens[0].token == 3);
  CHECK(tokens[1].token == 6);
  CHECK(tokens[2].token == 4);
  CHECK(tokens[3].token == 9);
}

TEST_CASE("top_p leaves the fewest tokens whose probabilities reach it, one at least") {
  const std::vector<float> logits = {log_of(0.1), log_of(0.5), log_of(0.15), log_of(0.25)};
  const auto kept = [&](float top_p, size_t known) {
    RankedTokens tokens = ranked(logits);
    return tokens_kept(tokens, {1, top_p, 0}, known, total(logits, tokens[0].logit, 1));
  };
  CHECK(kept(0.01f, 4) == 1u);
  CHECK(kept(0.4f, 4) == 1u);
  CHECK(kept(0.6f, 4) == 2u);
  CHECK(kept(0.8f, 4) == 3u);
  CHECK(kept(0.95f, 4) == 4u);
  CHECK(kept(0.6f, 2) == 2u);
  CHECK_FALSE(kept(0.8f, 2));  // rests on more than is known
}

TEST_CASE("the temperature flattens what top_p sums") {
  const std::vector<float> logits = {log_of(0.8), log_of(0.2)};  // at temperature 2 as 2 to 1
  RankedTokens tokens = ranked(logits);
  CHECK(tokens_kept(tokens, {1, 0.7f, 0}, 2, total(logits, tokens[0].logit, 1)) == 1u);
  CHECK(tokens_kept(tokens, {2, 0.7f, 0}, 2, total(logits, tokens[0].logit, 2)) == 2u);
}

TEST_CASE("top_k comes first, and top_p is a part of what it leaves") {
  const std::vector<float> logits = {log_of(0.4), log_of(0.3), log_of(0.2), log_of(0.1)};
  const auto kept = [&](int32_t top_k, float top_p, size_t known) {
    RankedTokens tokens = ranked(logits);
    return tokens_kept(tokens, {1, top_p, top_k}, known, 0);
  };
  CHECK(kept(2, 1, 4) == 2u);
  CHECK(kept(2, 0.5f, 4) == 1u);  // 4/7
  CHECK(kept(2, 0.6f, 4) == 2u);
  CHECK(kept(9, 1, 4) == 4u);
  CHECK_FALSE(kept(3, 1, 2));
}

TEST_CASE("sums by unit: each below its own largest logit") {
  const ExpSum units[] = {{log_of(2), 1.5f, 0}, {-kInfinity, 0, 0}, {log_of(4), 1.25f, 0}};  // 3 + 5
  CHECK(log_sum_exp(units) == doctest::Approx(std::log(8.0)));
  CHECK(exp_sum(units, log_of(4), 1) == doctest::Approx(2.0));
  const ExpSum flatter[] = {{log_of(2), 1, 0}, {log_of(8), 1, 0}};
  CHECK(exp_sum(flatter, log_of(8), 2) == doctest::Approx(1.5));
}

TEST_CASE("the logarithm of sums that are not finite is their largest logit") {
  const ExpSum infinite[] = {{kInfinity, NAN, 0}, {1, 1, 0}}, nothing[] = {{-kInfinity, 0, 0}};
  CHECK(log_sum_exp(infinite) == kInfinity);
  CHECK(log_sum_exp(nothing) == -kInfinity);
}
