#pragma once

#include <string_view>
#include <vector>

#include "checkpoint/gguf.h"

namespace trireme {

// How byte-level text is cut before merging, by the name that GGUF files give it (tokenizer.ggml.pre).
struct GgufPreTokenizer {
  std::string_view name;
  bool single_digits = false;                   // first every digit by itself
  std::vector<std::string_view> expressions{};  // then what each of these matches
  bool gpt2 = false;                            // then GPT-2's own, which ByteLevel has built in
  bool ignore_merges = false;                   // a piece that is a token is not merged
  std::string_view normalizer{};                // empty: none
  bool adds_bos = false;
};

// Throws Error(bad_data) for a name that this version does not have, with those that it has.
const GgufPreTokenizer& gguf_pre_tokenizer(const Gguf& gguf);

}  // namespace trireme
