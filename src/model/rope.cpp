#include "model/rope.h"

#include "base/math.h"

namespace trireme {

Rope::Rope(const ModelConfig& config, int64_t positions) {
  const int64_t half = config.head_dim / 2;
  memory_ = Buffer(static_cast<size_t>(positions * half * 2) * sizeof(float), "the RoPE table");
  float* cosine = memory_.as<float>();      // [positions, head_dim / 2]
  float* sine = cosine + positions * half;  // [positions, head_dim / 2]
  for (int64_t i = 0; i < half; i++) {
    float power = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    float frequency = static_cast<float>(1.0 / exact_pow(config.rope_theta, power));
    for (int64_t p = 0; p < positions; p++) {
      float angle = static_cast<float>(p) * frequency;
      double s, c;
      exact_sin_cos(angle, &s, &c);
      cosine[p * half + i] = static_cast<float>(c);
      sine[p * half + i] = static_cast<float>(s);
    }
  }
  table_ = {cosine, sine, config.head_dim};
}

}  // namespace trireme
