#include "kernels/random.h"

#include <doctest/doctest.h>

namespace trireme::testing {

// Known answers of philox4x32 with 10 rounds, as published with Random123 (kat_vectors).
TEST_CASE("Philox gives the published answers") {
  struct Known {
    PhiloxWords counter;
    uint64_t key;
    PhiloxWords answer;
  };
  const Known known[] = {{{{0, 0, 0, 0}}, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
                         {{{~0u, ~0u, ~0u, ~0u}}, ~0ull, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
                         {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
                          0x299f31d0a4093822ull,
                          {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}}};
  for (const Known& k : known) {
    PhiloxWords words = philox(k.counter, k.key);
    for (int i = 0; i < 4; i++) CHECK(words.word[i] == k.answer.word[i]);
  }
}

TEST_CASE("a token's word is word token % 4 of counter (token / 4, position)") {
  CHECK(token_word(0, 0, 0) == 0x6627e8d5);
  CHECK(token_word(0, 0, 3) == 0x9b00dbd8);
  CHECK(token_word(5, 9, 4) == philox({{1, 9, 0, 0}}, 5).word[0]);
}

TEST_CASE("uniform numbers are never 0 or 1") {
  CHECK(uniform_float(0) == 0x1p-24f);
  CHECK(uniform_float(~0u) == 1 - 0x1p-24f);
}

}  // namespace trireme::testing
