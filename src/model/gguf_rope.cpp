#include "model/gguf_rope.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/math.h"

namespace trireme {

namespace {

using nlohmann::json;

constexpr int64_t kMaxRotary = 512;  // values of a head that turn; published models have 64 to 256
constexpr std::string_view kDivisors = "rope_freqs.weight", kLong = "rope_factors_long.weight",
                           kShort = "rope_factors_short.weight";

// A tensor of positive FP32 numbers, one for each rotary pair.
std::vector<double> read_factors(const Gguf& gguf, const GgufTensor& t, int64_t rotary) {
  if (rotary < 2 || rotary > kMaxRotary || t.rows != 1 || t.columns != rotary / 2 || t.type->format != WeightFormat{})
    fail(ExitCode::bad_data, "{}: the tensor {} is [{}, {}] of {}, expected [1, {}] of F32: one for each rotary pair",
         gguf.path(), t.name, t.rows, t.columns, t.type->name, rotary / 2);
  std::vector<float> values(static_cast<size_t>(t.columns));
  t.file->read(t.offset, std::as_writable_bytes(std::span(values)), t.name.c_str());
  std::vector<double> factors;
  for (float value : values) {
    if (!(value > 0) || !std::isfinite(value))
      fail(ExitCode::bad_data, "{}: the tensor {} holds {} at {}; factors of rotary frequencies are positive numbers",
           gguf.path(), t.name, value, factors.size());
    factors.push_back(value);
  }
  return factors;
}

double linear_factor(GgufKeys& keys) {
  auto factor = keys.find<double>("rope.scaling.factor"), old = keys.find<double>("rope.scale_linear");
  double value = factor ? *factor : old.value_or(1);
  return value == 0 ? 1 : value;  // 0: none, as llama.cpp has it
}

void add_yarn(GgufKeys& keys, double factor, json& rope) {
  rope["rope_type"] = "yarn";
  rope["factor"] = factor;
  rope["original_max_position_embeddings"] = keys.get<int64_t>("rope.scaling.original_context_length");
  keys.only("rope.scaling.yarn_ext_factor", 1.0);
  keys.only("rope.scaling.yarn_log_multiplier", 0.0);
  constexpr std::pair<const char*, const char*> optional[] = {{"rope.scaling.yarn_attn_factor", "attention_factor"},
                                                              {"rope.scaling.yarn_beta_fast", "beta_fast"},
                                                              {"rope.scaling.yarn_beta_slow", "beta_slow"}};
  for (auto [key, field] : optional)
    if (auto value = keys.find<double>(key)) rope[field] = *value;
}

// Phi-3's long context. GGUF writes the attention factor that follows from the two lengths, and no type of scaling.
void add_longrope(GgufKeys& keys, const GgufTensor& long_factors, const GgufTensor& short_factors, int64_t rotary,
                  json& rope) {
  int64_t original = keys.get<int64_t>("rope.scaling.original_context_length");
  rope["rope_type"] = "longrope";
  rope["original_max_position_embeddings"] = original;
  rope["long_factor"] = read_factors(keys.gguf(), long_factors, rotary);
  rope["short_factor"] = read_factors(keys.gguf(), short_factors, rotary);
  if (original < 2) keys.refuse("rope.scaling.original_context_length", fmt::format("is {}", original));
  auto given = keys.find<double>("rope.scaling.attn_factor");
  double ratio = static_cast<double>(keys.get<int64_t>("context_length")) / static_cast<double>(original);
  double usual = ratio > 1 ? std::sqrt(1 + exact_log(ratio) / exact_log(static_cast<double>(original))) : 1;
  if (given && !(std::abs(*given - usual) < 1e-5)) rope["attention_factor"] = *given;
}

}  // namespace

bool is_gguf_rope_tensor(std::string_view name) { return name == kDivisors || name == kLong || name == kShort; }

json gguf_rope_parameters(GgufKeys& keys, int64_t rotary) {
  const Gguf& gguf = keys.gguf();
  json rope = {{"rope_type", "default"}, {"rope_theta", keys.find<double>("rope.freq_base").value_or(10000)}};
  const GgufTensor *long_factors = gguf.find_tensor(kLong), *short_factors = gguf.find_tensor(kShort),
                   *divisors = gguf.find_tensor(kDivisors);
  if (!long_factors != !short_factors || (long_factors && divisors))
    fail(ExitCode::bad_data, "{}: of the tensors {} and {} both are expected, and {} not beside them", gguf.path(),
         kLong, kShort, kDivisors);
  keys.without_effect("rope.scaling.finetuned");                // how the scaling came about
  keys.without_effect("rope.scaling.original_context_length");  // unless yarn or longrope read it below
  std::string type = keys.find<std::string>("rope.scaling.type").value_or(long_factors ? "longrope" : "linear");
  if (type == "longrope" && long_factors) {
    add_longrope(keys, *long_factors, *short_factors, rotary, rope);
    return rope;
  }
  keys.only("rope.scaling.attn_factor", 1.0);
  if (long_factors || (type != "none" && type != "linear" && type != "yarn"))
    keys.refuse("rope.scaling.type",
                fmt::format("is {}{}; supported are none, linear, yarn, and longrope with the tensors {} and {}", type,
                            long_factors ? " beside factors for longrope" : "", kLong, kShort));
  double factor = linear_factor(keys);
  if (type == "yarn") {
    add_yarn(keys, factor, rope);
  } else if (type == "linear" && factor != 1) {
    rope["rope_type"] = "linear";
    rope["factor"] = factor;
  }
  if (!divisors) return rope;
  if (rope["rope_type"] != "default")
    fail(ExitCode::bad_data, "{}: the tensor {} stands beside scaling {}; one of them is possible", gguf.path(),
         kDivisors, type);
  rope["rope_frequency_divisors"] = read_factors(gguf, *divisors, rotary);
  return rope;
}

}  // namespace trireme
