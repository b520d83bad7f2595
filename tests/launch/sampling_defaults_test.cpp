#include "launch/sampling_defaults.h"

#include <doctest/doctest.h>

#include "testkit/error_of.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

Options options(std::vector<std::string> given, std::vector<std::string> environment = {}) {
  given.insert(given.begin(), {"run", "input"});
  return parse_options(given, environment);
}

constexpr const char* kSampling =
    R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2], "transformers_version": "4.40"})";

}  // namespace

TEST_CASE("a model's sampling settings stand between the user's and the defaults") {
  Options o = options({});
  CHECK(SamplingDefaults::apply(kSampling, "m", &o).taken == "temperature 0.6, top_p 0.9");
  CHECK(o.temperature == 0.6);
  CHECK(o.top_p == 0.9);
  CHECK(o.top_k == 0);
  o = options({"--temperature", "0"}, {"TRIREME_TOP_P=0.5"});
  CHECK(SamplingDefaults::apply(kSampling, "m", &o).taken == "");
  CHECK(o.temperature == 0);
  CHECK(o.top_p == 0.5);
  o = options({"--top-k", "7"});  // without the model this would be greedy, and an error
  CHECK(SamplingDefaults::apply(R"({"do_sample": true, "top_k": 50})", "m", &o).taken == "temperature 1");
  CHECK(o.temperature == 1);
  CHECK(o.top_k == 7);
}

TEST_CASE("without do_sample a model decodes greedily") {
  for (const char* text : {"", "{}", R"({"temperature": 0.6, "top_p": 0.9})",
                           R"({"do_sample": false, "temperature": 0.6, "top_k": 50})"}) {
    Options o = options({});
    const SamplingDefaults defaults = SamplingDefaults::apply(text, "m", &o);
    CHECK(defaults.taken == "");
    CHECK(defaults.left_out == "");
    CHECK(o.temperature == 0);
    CHECK(o.top_p == 1);
    Options cut = options({"--top-k", "5"});
    CHECK(contains(error_of([&] { SamplingDefaults::apply(text, "m", &cut); }), "64: --top-p and --top-k"));
  }
}

TEST_CASE("a stored text nested too deep to be printed is refused") {
  Options o = options({});
  const std::string text = "{\"min_p\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  CHECK(contains(error_of([&] { SamplingDefaults::apply(text, "model.h5", &o); }), "nested deeper than 32"));
}

TEST_CASE("settings that this version lacks are named, and nonsense is refused") {
  auto left_out = [](const char* text) {
    Options o = options({});
    return SamplingDefaults::apply(text, "m", &o).left_out;
  };
  CHECK(left_out(R"({"repetition_penalty": 1.1, "min_p": 0.05})") == "repetition_penalty 1.1, min_p 0.05");
  CHECK(left_out(R"({"repetition_penalty": 1.0, "num_beams": 1, "suppress_tokens": null})") == "");
  for (const char* field : {"\"temperature\": -1", "\"temperature\": \"hot\"", "\"top_p\": 0", "\"top_p\": 1.5",
                            "\"top_k\": 2.5", "\"top_k\": -1"}) {
    Options o = options({});
    const std::string text = fmt::format("{{\"do_sample\": true, {}}}", field);
    CHECK(contains(error_of([&] { SamplingDefaults::apply(text, "model.h5", &o); }), "65: model.h5: t"));
  }
}
