#include "engine/pace.h"

#include <doctest/doctest.h>

using namespace trireme;

namespace {

PlanItem item(int32_t position, int32_t tokens) {
  PlanItem i;
  i.position = position;
  i.tokens.assign(static_cast<size_t>(tokens), 0);
  return i;
}

StepPlan plan(std::vector<PlanItem> items) {
  StepPlan p;
  p.items = std::move(items);
  return p;
}

}  // namespace

TEST_CASE("steps of single tokens are decoding, those with a piece of a prompt are not") {
  Pace pace;
  pace.begin(plan({item(0, 100), item(50, 1)}));
  pace.end();
  CHECK(pace.decode().rows == 0);
  CHECK(pace.prefill().rows == 101);
  pace.begin(plan({item(100, 1), item(51, 1), item(7, 1)}));
  pace.end();
  CHECK(pace.prefill().rows == 101);
  CHECK(pace.decode().rows == 3);
  CHECK(pace.decode().position() == doctest::Approx((101 + 52 + 8) / 3.0));
  CHECK(pace.decode().sequences() == doctest::Approx(3));
  // One step a token: its time is the token's.
  CHECK(pace.decode().ms_per_token() == doctest::Approx(pace.decode().seconds * 1e3));
}

TEST_CASE("a row sees half of its prompt, in the mean") {
  Pace pace;
  pace.begin(plan({item(0, 100)}));
  pace.end();
  pace.begin(plan({item(100, 100)}));
  pace.end();
  CHECK(pace.prefill().position() == doctest::Approx(100.5));
}

TEST_CASE("two micro-batches on their way: a token takes two of the times between results") {
  Pace pace;
  pace.begin(plan({item(10, 1), item(10, 1)}));
  for (int i = 0; i < 100; i++) {
    pace.begin(plan({item(10, 1), item(10, 1)}));
    pace.end();
  }
  CHECK(pace.decode().rows == 200);
  CHECK(pace.decode().sequences() == doctest::Approx(4));
  CHECK(pace.decode().ms_per_token() == doctest::Approx(2 * pace.decode().seconds / 100 * 1e3));
}

TEST_CASE("while a prompt is on its way, the time is that of prompts") {
  Pace pace;
  pace.begin(plan({item(10, 1)}));
  pace.begin(plan({item(0, 64)}));
  pace.end();
  CHECK(pace.decode().rows == 0);
  CHECK(pace.prefill().rows == 1);
}

TEST_CASE("prompts come in stretches, which tokens or rest part") {
  Pace pace;
  const auto run = [&](int32_t tokens) { pace.begin(plan({item(0, tokens)})), pace.end(); };
  run(100), run(50), run(1), run(1), run(100);
  CHECK(pace.prefill().stretches == 2);
  CHECK(pace.decode().stretches == 1);
  pace.rest();
  run(100);
  CHECK(pace.prefill().stretches == 3);
}
