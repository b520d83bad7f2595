#pragma once

#include <cstdint>
#include <span>

namespace trireme {

// How far one prediction strays from another of the same vocabulary.
struct Divergence {
  double kl = 0;               // KL(reference || tested) in nats; exactly 0 for equal logits
  int32_t reference_top = -1;  // likeliest tokens, ties to the lower id
  int32_t tested_top = -1;
};

// Of raw logits, equally many and all finite. In FP64 and one fixed order, without the host's libm: the same bits
// everywhere.
Divergence divergence(std::span<const float> reference, std::span<const float> tested);

}  // namespace trireme
