#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/decoder_state.h"
#include "text/json_field.h"
#include "text/metaspace.h"
#include "text/pattern.h"

namespace trireme {

// The `decoder` of a tokenizer.json: turns the texts of tokens into text, token by token. Never shows half a character;
// what later tokens may still change is held back.
class TokenDecoder {
 public:
  // Throws Error(bad_data) for a step it does not have, by name.
  explicit TokenDecoder(const JsonField& field);

  // Appends what is certain now to `out`.
  void push(std::string_view token, DecoderStates& states, std::string& out) const;
  void finish(DecoderStates& states, std::string& out) const;

  // The bytes that a token stands for inside a text.
  std::string bytes_of(std::string_view token) const;

 private:
  enum class Kind { byte_level, byte_fallback, fuse, metaspace, replace, strip, word_piece, bpe_suffix, join };
  struct Step {
    Kind kind;
    bool on_fused = false;  // tokens come as parts of one
    bool holds = false;     // a fusing step whose parts the next one needs in one piece
    std::string text;       // content, prefix or suffix
    bool cleanup = false;
    size_t start = 0;  // how often Strip cuts `text` off
    size_t stop = 0;
    std::optional<Pattern> pattern;
    std::optional<Metaspace> metaspace;
  };
  void add(const JsonField& field, int depth);
  Step read(const JsonField& field) const;
  void feed(size_t index, std::string token, DecoderStates& states, std::string& out) const;
  void end(size_t index, DecoderStates& states, std::string& out) const;
  void fall_back(size_t index, DecoderStates& states, std::string& out) const;
  void strip_fused(size_t index, std::string_view part, DecoderStates& states, std::string& out) const;

  std::vector<Step> steps_;
};

}  // namespace trireme
