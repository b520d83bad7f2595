#pragma once

#include <string>
#include <vector>

namespace trireme {

// What one step of a TokenDecoder remembers of a text that grows.
struct DecoderState {
  size_t count = 0;    // tokens that came
  size_t cut = 0;      // Strip: characters cut off so far
  bool begun = false;  // Strip: the text has begun
  std::string held;    // what cannot be shown yet
};
using DecoderStates = std::vector<DecoderState>;  // one per step; empty: nothing came yet

}  // namespace trireme
