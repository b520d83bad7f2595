#pragma once

#include <optional>
#include <string>

#include "model/config.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace trireme {

// The part of a model that turns text into tokens: no weights, no MPI.
struct TextModel {
  ModelConfig config;
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;

  // From a checkpoint, a GGUF file or a Hugging Face folder. Throws Error(usage) when `path` is empty.
  static TextModel open(const std::string& path);
};

}  // namespace trireme
