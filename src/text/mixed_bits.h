#pragma once

#include <cstdint>

namespace trireme {

// The finalizer of MurmurHash3: every bit of the value reaches the low bits.
inline uint64_t mixed_bits(uint64_t value) {
  value = (value ^ value >> 33) * 0xFF51AFD7ED558CCDull;
  value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53ull;
  return value ^ value >> 33;
}

}  // namespace trireme
