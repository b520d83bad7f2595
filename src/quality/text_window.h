#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme {

// A piece of a long text that is predicted by itself.
struct TextWindow {
  std::vector<int32_t> tokens;  // what the model reads, BOS first where it wants one
  int32_t first_scored = 0;     // index in `tokens` of the first that counts; those before are context
  int64_t offset = 0;           // tokens[i] is token i + offset of the text

  int64_t positions() const { return std::ssize(tokens) - first_scored; }
};

// Cuts a text into windows of at most `length` tokens. Each begins with `unscored` tokens of what came before, so that
// every token of the text counts once; the very first has no context but BOS. Nothing predicts a window's first token:
// with no BOS (-1) it does not count. unscored is less than length, less BOS.
std::vector<TextWindow> text_windows(std::span<const int32_t> text, int32_t bos, int64_t length, int64_t unscored);

}  // namespace trireme
