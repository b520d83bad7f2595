#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace trireme {

// Random numbers by counter: the noise of a token is a pure function of (key, position, token), so no rank, thread or
// order has a say in it. Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011).
inline constexpr uint32_t kPhiloxMultiply[2] = {0xD2511F53u, 0xCD9E8D57u};
inline constexpr uint32_t kPhiloxWeyl[2] = {0x9E3779B9u, 0xBB67AE85u};  // added to the key after each round
inline constexpr int kPhiloxRounds = 10;

struct PhiloxWords {
  uint32_t word[4];
};

TRIREME_HD inline PhiloxWords philox(PhiloxWords counter, uint64_t key) {
  uint32_t key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  uint32_t* c = counter.word;
  for (int round = 0; round < kPhiloxRounds; round++) {
    uint64_t a = static_cast<uint64_t>(kPhiloxMultiply[0]) * c[0], b = static_cast<uint64_t>(kPhiloxMultiply[1]) * c[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(a)}};
    constexpr uint32_t weyl0 = kPhiloxWeyl[0], weyl1 = kPhiloxWeyl[1];
    key0 += weyl0;
    key1 += weyl1;
  }
  return counter;
}

// The word that belongs to a token at a position: four consecutive tokens share a counter.
TRIREME_HD inline uint32_t token_word(uint64_t key, int32_t position, int32_t token) {
  uint32_t t = static_cast<uint32_t>(token);
  return philox({{t / 4, static_cast<uint32_t>(position), 0, 0}}, key).word[t % 4];
}

// Uniform in (0, 1), never 0 or 1: the top 23 bits and a half, which is exact in FP32.
TRIREME_HD inline float uniform_float(uint32_t word) { return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f; }

}  // namespace trireme
