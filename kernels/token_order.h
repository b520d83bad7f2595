#pragma once

#include <bit>
#include <cstdint>

#include "base/host_device.h"

namespace trireme {

// Numbers that order logits: of two, the larger logit has the larger one; -0 and 0 have the same, NaNs lie outside.
TRIREME_HD inline uint32_t logit_order(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// Likewise tokens by their logits, of equal ones the lower id first. All differ, NaNs' included.
TRIREME_HD inline uint64_t order_of(uint32_t of_logit, int32_t token) {
  return uint64_t{of_logit} << 32 | ~static_cast<uint32_t>(token);
}
TRIREME_HD inline uint64_t token_order(float logit, int32_t token) { return order_of(logit_order(logit), token); }
TRIREME_HD inline int32_t token_of(uint64_t order) { return static_cast<int32_t>(~static_cast<uint32_t>(order)); }

}  // namespace trireme
