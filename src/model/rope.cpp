#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/math.h"

namespace trireme {

namespace {

constexpr double kPi = 3.14159265358979323846;

// 1 / theta^(2 i / rotary)
double plain_frequency(const RopeConfig& c, int64_t i) {
  const float power = static_cast<float>(2 * i) / static_cast<float>(c.rotary);
  return 1.0 / exact_pow(c.theta, power);
}

// Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended.
double llama3_frequency(const RopeConfig& c, double frequency) {
  const double original = static_cast<double>(c.original_positions), wave = 2 * kPi / frequency;
  if (wave < original / c.high_freq_factor) return frequency;
  if (wave > original / c.low_freq_factor) return frequency / c.factor;
  const double smooth = (original / wave - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  return (1 - smooth) * frequency / c.factor + smooth * frequency;
}

// YaRN (Peng et al. 2023): pairs that turn more than beta_fast times over the original context keep their frequency,
// those below beta_slow are slowed by `factor`, a ramp between.
double yarn_frequency(const RopeConfig& c, int64_t i, double frequency) {
  auto pair_that_turns = [&](double times) {
    return c.rotary * exact_log(static_cast<double>(c.original_positions) / (times * 2 * kPi)) /
           (2 * exact_log(c.theta));
  };
  double low = pair_that_turns(c.beta_fast), high = pair_that_turns(c.beta_slow);
  if (c.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(c.rotary - 1));
  if (low == high) high += 0.001;
  const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return frequency / c.factor * ramp + frequency * (1 - ramp);
}

// [rotary / 2]
std::vector<float> frequencies(const RopeConfig& c, const std::vector<double>& divisors) {
  std::vector<float> all;
  for (int64_t i = 0; i < c.rotary / 2; i++) {
    double f = plain_frequency(c, i);
    switch (c.scaling) {
      case RopeScaling::none:
        break;
      case RopeScaling::linear:
        f /= c.factor;
        break;
      case RopeScaling::llama3:
        f = llama3_frequency(c, f);
        break;
      case RopeScaling::yarn:
        f = yarn_frequency(c, i, f);
        break;
      case RopeScaling::longrope:
      case RopeScaling::divisors:
        f /= divisors[static_cast<size_t>(i)];
        break;
    }
    all.push_back(static_cast<float>(f));
  }
  return all;
}

}  // namespace

int64_t Rope::bytes(const RopeConfig& config, int64_t positions) {
  const int64_t sets = config.scaling == RopeScaling::longrope ? 2 : 1;
  return positions * sets * (config.rotary / 2) * 2 * int64_t{sizeof(float)};
}

Rope::Rope(const RopeConfig& config, int64_t positions) {
  const int64_t half = config.rotary / 2;
  std::vector<std::vector<float>> sets{frequencies(config, config.divisors)};
  if (config.scaling == RopeScaling::longrope) sets.push_back(frequencies(config, config.long_factor));
  const int64_t rows = positions * std::ssize(sets);
  memory_ = Buffer(static_cast<size_t>(bytes(config, positions)), "the RoPE table");
  float* cosine = memory_.as<float>();  // [rows, half]
  float* sine = cosine + rows * half;   // [rows, half]
  table_ = {cosine, sine, config.rotary};
  for (const std::vector<float>& set : sets)
    for (int64_t p = 0; p < positions; p++, cosine += half, sine += half)
      for (int64_t i = 0; i < half; i++) {
        const float angle = static_cast<float>(p) * set[static_cast<size_t>(i)];
        double s, c;
        exact_sin_cos(angle, &s, &c);
        cosine[i] = static_cast<float>(c * config.attention_factor);
        sine[i] = static_cast<float>(s * config.attention_factor);
      }
}

void Rope::move_to(Device& device) {
  const auto sine = table_.sine - table_.cosine;
  memory_ = device.upload(std::move(memory_), "the RoPE table");
  table_.cosine = memory_.as<float>();
  table_.sine = table_.cosine + sine;
}

}  // namespace trireme
