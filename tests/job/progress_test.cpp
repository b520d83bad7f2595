#include "job/progress.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace trireme;

namespace {

// Documents that take one second each, an update every 0.01 s; what was written.
std::string watch(bool terminal, uint64_t documents, double interval) {
  std::string seen;
  Progress progress([&](std::string_view text) { seen += text; }, terminal, interval);
  for (uint64_t i = 0; i <= documents * 100; i++)
    progress.update({documents, i / 100, i / 2000, static_cast<int64_t>(i), static_cast<int64_t>(i)},
                    static_cast<double>(i) / 100);
  return seen;
}

}  // namespace

TEST_CASE("a log gets a plain line at the start, per interval and per tenth") {
  std::string seen = watch(false, 200, 30);
  CHECK(std::count(seen.begin(), seen.end(), '\n') == 1 + 10);  // every tenth is 20 s: the interval never passes
  CHECK(seen.find('\r') == seen.npos);
  CHECK(seen.find("20/200 documents (10 %), 1 error, 4000 tokens, 200 tok/s, 3 min 00 s left\n") != seen.npos);
  std::string rare = watch(false, 2000, 30);
  CHECK(std::count(rare.begin(), rare.end(), '\n') == 1 + 10 + 60);
}

TEST_CASE("a terminal gets one line, redrawn") {
  std::string seen = watch(true, 20, 30);
  CHECK(seen.find('\n') == seen.npos);
  CHECK(seen.starts_with("\r\x1b[K0/20 documents (0 %), 0 tokens, 0 tok/s\r"));
  CHECK(std::count(seen.begin(), seen.end(), '\r') <= 130);
}

TEST_CASE("the summary has everything") {
  CHECK(summary_text({3, 3, 1, 1000, 500}, {10, 4, 3, 2, 1}) ==
        "documents   3 in 10 s, 1 error\n"
        "tokens      1000 in, 500 out, 150.0 tok/s (50.0 out)\n"
        "seconds     4.0 prefill, 3.0 decode, 2.0 communication, 1.0 waiting\n");
  const StepSpeeds speeds = {10, 12, 3.5, 200, 1000, 900};
  CHECK(summary_text({3, 3, 1, 1000, 500}, {10, 4, 3, 2, 1}, speeds)
            .ends_with("decode      10 ms a token of 3.5 sequences at position 200, planned 12 ms (+20 %)\n"
                       "prefill     1000 tok/s, planned 900 tok/s (-10 %)\n"));
  CHECK(summary_text({3, 3, 1, 1000, 500}, {10, 4, 3, 2, 1}, {.prefill_rate = 1000})
            .ends_with("\nprefill     1000 tok/s\n"));
  CHECK(progress_text({0, 0, 0, 0, 0}, 0) == "0/0 documents (100 %), 0 tokens, 0 tok/s");
}

TEST_CASE("documents under way count: their tokens, and the time they leave") {
  const Tally none = {.rows_total = 4, .positions = 300};
  CHECK(progress_text(none, 10) == "0/4 documents (0 %), 300 tokens, 30 tok/s");
  CHECK(seconds_left(none, 10) < 0);
  // One of 100 tokens is done, the other three are half done: 150 of 400 tokens are left.
  Tally some = {.rows_total = 4, .rows_done = 1, .prompt_tokens = 90, .completion_tokens = 10, .positions = 250};
  some.rows_started = 4;
  CHECK(seconds_left(some, 10) == doctest::Approx(6));
  // The others are longer: what they have by now is what is known of them, and of those that are not begun.
  some.positions = 900;
  CHECK(seconds_left(some, 10) == doctest::Approx(0));
  some.rows_total = 8;
  CHECK(seconds_left(some, 10) == doctest::Approx(10));
  const Tally errors = {.rows_total = 4, .rows_done = 2, .rows_failed = 2};
  CHECK(seconds_left(errors, 10) == doctest::Approx(10));
}
