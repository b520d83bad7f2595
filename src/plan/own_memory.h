#pragma once

#include <cstdint>

namespace trireme {

// How this engine divides a rank's memory when nobody says it (launch/session.cpp), which the planner must know.
inline constexpr int64_t kStepTokens = 256;  // of the largest step: --max-step-tokens' default
inline constexpr int64_t kLogitRows = 32;    // logits computed at once: [32, vocabulary] FP32 is 6 MB for 49152 tokens
inline constexpr int64_t kRankBytes = int64_t{256} << 20;  // beside weights and cache: libraries, activations, windows
inline constexpr double kCacheShare = 0.5;                 // of a host's memory left after the weights
inline constexpr double kGpuCacheShare = 0.95;  // of a GPU's memory left after weights, activations and kRankBytes

}  // namespace trireme
