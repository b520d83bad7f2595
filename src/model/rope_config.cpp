#include "model/rope_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/math.h"

namespace trireme {

namespace {

using nlohmann::json;

// What a set takes from outside its own object.
struct Defaults {
  double theta = 10000;
  double partial = 1;                // "partial_rotary_factor"
  int64_t original_positions = 0;    // "original_max_position_embeddings" beside the set wins over the one inside
  bool yarn_means_longrope = false;  // Phi 3's old names
};

// transformers' default for yarn (Peng et al. 2023, equation 22).
double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * exact_log(factor) + 1; }

double yarn_attention_factor(ConfigReader& rope, double factor) {
  const double mscale = rope.real("mscale", 0), all = rope.real("mscale_all_dim", 0);
  const double otherwise =
      mscale != 0 && all != 0 ? yarn_scale(factor, mscale) / yarn_scale(factor, all) : yarn_scale(factor, 1);
  return rope.real("attention_factor", otherwise);
}

// transformers' default for longrope (Ding et al. 2024).
double longrope_attention_factor(ConfigReader& rope, const ModelConfig& c, int64_t original) {
  const double factor = rope.real("factor", static_cast<double>(c.max_positions) / static_cast<double>(original));
  const double otherwise =
      factor <= 1 || original < 2 ? 1 : std::sqrt(1 + exact_log(factor) / exact_log(static_cast<double>(original)));
  return rope.real("attention_factor", otherwise);
}

double needed(ConfigReader& rope, const char* field) {
  const std::optional<double> value = rope.find_real(field);
  if (!value) rope.refuse(field, "is missing");
  return *value;
}

RopeScaling scaling_of(ConfigReader& rope, const Defaults& defaults) {
  const std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (type == "default") return rope.find("rope_frequency_divisors") ? RopeScaling::divisors : RopeScaling::none;
  if (type == "linear") return RopeScaling::linear;
  if (type == "llama3") return RopeScaling::llama3;
  if (type == "longrope" || type == "su" || (type == "yarn" && defaults.yarn_means_longrope))
    return RopeScaling::longrope;
  if (type == "yarn") return RopeScaling::yarn;
  rope.refuse("rope_type", fmt::format("is {}; this version has default, linear, llama3, yarn and longrope", type));
}

RopeConfig read_rope(ConfigReader& rope, const ModelConfig& c, const Defaults& defaults) {
  RopeConfig r;
  r.scaling = scaling_of(rope, defaults);
  rope.ignore("type");
  r.theta = rope.real("rope_theta", defaults.theta);
  const double partial = rope.real("partial_rotary_factor", defaults.partial);
  if (!(partial > 0 && partial <= 1)) rope.refuse("partial_rotary_factor", fmt::format("is {}", partial));
  r.rotary = static_cast<int>(static_cast<double>(c.head_dim) * partial);
  r.original_positions = rope.integer("original_max_position_embeddings", c.max_positions);
  if (defaults.original_positions > 0) r.original_positions = defaults.original_positions;
  if (r.original_positions < 1) rope.refuse("original_max_position_embeddings", "is not above 0");
  switch (r.scaling) {
    case RopeScaling::none:
      rope.only("factor", 1.0);
      break;
    case RopeScaling::linear:
      r.factor = needed(rope, "factor");
      break;
    case RopeScaling::llama3:
      r.factor = needed(rope, "factor");
      r.low_freq_factor = needed(rope, "low_freq_factor");
      r.high_freq_factor = needed(rope, "high_freq_factor");
      break;
    case RopeScaling::yarn:
      r.factor = rope.real("factor", static_cast<double>(c.max_positions) / static_cast<double>(r.original_positions));
      r.attention_factor = yarn_attention_factor(rope, r.factor);
      r.beta_fast = rope.real("beta_fast", 32);
      r.beta_slow = rope.real("beta_slow", 1);
      r.truncate = rope.boolean("truncate", true);
      rope.ignore("finetuned");
      break;
    case RopeScaling::longrope:
      r.divisors = rope.reals("short_factor");
      r.long_factor = rope.reals("long_factor");
      r.attention_factor = longrope_attention_factor(rope, c, r.original_positions);
      break;
    case RopeScaling::divisors:
      r.divisors = rope.reals("rope_frequency_divisors");
      break;
  }
  rope.check_rest();
  return r;
}

}  // namespace

void read_ropes(ConfigReader& in, ModelConfig& c, double default_theta, double local_theta, const std::string& source) {
  Defaults defaults;
  defaults.theta = in.real("rope_theta", default_theta);
  defaults.partial = in.real("partial_rotary_factor", 1);
  defaults.original_positions = in.integer("original_max_position_embeddings", 0);
  defaults.yarn_means_longrope = c.model_type == "phi3";
  Defaults local = defaults;
  local.theta = in.real("rope_local_base_freq", local_theta);
  local.original_positions = 0;

  const json* found = in.find("rope_parameters");
  if (const json* scaling = in.find("rope_scaling")) found = found ? found : scaling;
  const json nothing = json::object();
  const json& all = found ? *found : nothing;
  auto part = [&](const char* name) -> const json& {
    const json& whole = all;
    if (!whole.is_object()) return whole;  // refused by the reader
    auto inner = whole.find(name);
    return inner != whole.end() && inner->is_object() ? *inner : nothing;
  };
  const bool nested = all.is_object() && (all.contains("full_attention") || all.contains("sliding_attention"));
  auto read = [&](const json& object, const Defaults& d) {
    ConfigReader rope(object, source, "rope_parameters.");
    c.ropes.push_back(read_rope(rope, c, d));
  };
  read(nested ? part("full_attention") : all, defaults);
  if (local_theta > 0) read(nested ? part("sliding_attention") : nothing, local);
}

}  // namespace trireme
