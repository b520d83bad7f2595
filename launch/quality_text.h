#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/options.h"
#include "launch/text_model.h"
#include "quality/text_window.h"

namespace trireme {

// How long the windows of `bench quality` are, from the options and the models' context. Throws Error(usage).
struct WindowSize {
  int64_t tokens = 0, unscored = 0;
  static WindowSize of(const Options& options, int64_t context);
};

// The text of `bench quality`, tokenized once and cut.
struct QualityText {
  std::vector<int32_t> tokens;
  std::vector<TextWindow> windows;  // at least one
  // Special-token text is plain text. Throws Error(no_input, bad_data) naming file and byte.
  static QualityText read(const std::string& path, const TextModel& model, const WindowSize& size);
};

// Throws Error(bad_data) naming the first difference unless both predict the same tokens.
void check_same_vocabulary(const TextModel& tested, const TextModel& reference, const Options& options);

}  // namespace trireme
