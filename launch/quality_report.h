#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/options.h"

namespace trireme {

// What `bench quality` found in one window of the text: sums over its scored positions.
struct WindowQuality {
  int64_t positions = 0;
  double loss = 0, reference_loss = 0;  // -log p of the text's own tokens, in nats
  double kl = 0;                        // (reference || tested)
  int64_t agreements = 0;               // positions where both find the same token likeliest
};

// Where the two sides differ most; of one side alone, what it expected least.
struct WorstPosition {
  double value = -1;                         // KL, or loss
  int64_t token = 0;                         // index in the text
  std::string expected, reference_expected;  // the likeliest tokens' text; "" of one side alone
};

struct Quality {
  bool compared = false;
  std::vector<WindowQuality> windows;
  WorstPosition worst;
  int64_t tokens = 0;  // of the text
  int64_t window = 0, unscored = 0;
  nlohmann::ordered_json about;  // what was compared: files, fingerprints, layout
};

// Lines for people, or with --json one object. Means with the 95 % intervals of quality/window_mean.h.
void print_quality(const Quality& quality, const Options& options);

}  // namespace trireme
