#include "launch/sampling_defaults.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/json_depth.h"

namespace trireme {

namespace {

using nlohmann::json;

// Settings of generation that exist elsewhere and not here, each with the values that ask for nothing.
struct Neutral {
  const char* field;
  json values;
};
const std::vector<Neutral>& neutral_values() {
  static const std::vector<Neutral> all = {{"repetition_penalty", json::array({1.0})},
                                           {"min_p", json::array({0.0})},
                                           {"typical_p", json::array({1.0})},
                                           {"epsilon_cutoff", json::array({0.0})},
                                           {"eta_cutoff", json::array({0.0})},
                                           {"no_repeat_ngram_size", json::array({0})},
                                           {"encoder_repetition_penalty", json::array({1.0})},
                                           {"penalty_alpha", json::array({0.0})},
                                           {"num_beams", json::array({1})},
                                           {"bad_words_ids", json::array()},
                                           {"suppress_tokens", json::array({json::array()})},
                                           {"begin_suppress_tokens", json::array({json::array()})},
                                           {"forced_bos_token_id", json::array()},
                                           {"forced_eos_token_id", json::array()}};
  return all;
}

std::string join(std::string list, const std::string& item) { return list.empty() ? item : list + ", " + item; }

}  // namespace

SamplingDefaults SamplingDefaults::apply(const std::string& text, const std::string& path, Options* options) {
  constexpr int kMaxDepth = 32;
  if (json_depth(text) > kMaxDepth)
    fail(ExitCode::bad_data, "{}: generation_config.json is nested deeper than {}; convert the model again", path,
         kMaxDepth);
  const json generation = text.empty() ? json::object() : json::parse(text, nullptr, false);
  if (!generation.is_object()) fail(ExitCode::bad_data, "{}: generation_config.json is no JSON object", path);
  SamplingDefaults result;
  auto value = [&](const char* field) { return generation.value(field, json()); };
  auto number = [&](const char* field, double low, double high, bool whole, auto take) {
    const json v = value(field);
    if (v.is_null()) return;
    if (!v.is_number() || !(v >= low && v <= high) || (whole && !v.is_number_integer()))
      fail(ExitCode::bad_data, "{}: {} of generation_config.json is {}; {} to {} is possible", path, field,
           v.dump().substr(0, 40), low, high);
    take(v);
    result.taken = join(result.taken, fmt::format("{} {}", field, v.dump()));
  };
  if (value("do_sample") == json(true)) {
    if (!options->given("temperature")) {
      options->temperature = 1;  // of a file that samples and does not say
      if (value("temperature").is_null()) result.taken = "temperature 1";
      number("temperature", 0, 100, false, [&](const json& v) { options->temperature = v; });
    }
    if (!options->given("top-p")) number("top_p", 1e-9, 1, false, [&](const json& v) { options->top_p = v; });
    if (!options->given("top-k")) number("top_k", 0, 1e15, true, [&](const json& v) { options->top_k = v; });
  }
  for (const Neutral& n : neutral_values()) {
    const json v = value(n.field);
    if (v.is_null() || std::find(n.values.begin(), n.values.end(), v) != n.values.end()) continue;
    result.left_out = join(result.left_out, fmt::format("{} {}", n.field, v.dump().substr(0, 40)));
  }
  if (options->temperature == 0 && (options->given("top-p") || options->given("top-k")) &&
      !options->given("temperature"))
    fail(ExitCode::usage, "--top-p and --top-k have no effect on greedy decoding; give --temperature above 0 as well");
  return result;
}

}  // namespace trireme
