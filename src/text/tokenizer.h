#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/decoder_state.h"

namespace trireme {

// Text with its origin: only trusted text (a chat template's own words) may become special tokens. Adjacent pieces are
// tokenized as one text; special tokens are matched inside a trusted piece only.
struct TextPiece {
  std::string text;
  bool trusted = false;
};

// A tokenizer.json (Hugging Face format). What of it is supported: docs/tokenizers.md. Immutable after construction;
// safe to share by threads.
class Tokenizer {
 public:
  // Throws Error(bad_data) naming the field when the file is damaged or uses something unsupported (listed by name).
  explicit Tokenizer(std::string_view tokenizer_json);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  int vocab_size() const;  // highest id + 1, added tokens included
  std::vector<int32_t> encode(std::span<const TextPiece> pieces) const;
  std::vector<int32_t> encode(std::string_view text, bool trusted = false) const;
  // Special tokens are left out when skip_special. Bytes that are not UTF-8 become U+FFFD as in transformers.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;
  int32_t find_id(std::string_view token) const;  // -1: no such token (content of added tokens, or vocabulary form)
  bool is_special(int32_t id) const;
  void push(int32_t id, bool skip_special, DecoderStates& states, std::string& text) const;  // decode(), token by token
  void finish(DecoderStates& states, std::string& text) const;
  // The raw bytes a token stands for inside a text; added tokens their content.
  std::string token_bytes(int32_t id) const;
  // The token that the file's post-processor puts before a text; -1: none. encode() never adds it.
  int32_t bos_id() const;

  struct State;  // the tables; tokenizer.cpp

 private:
  std::unique_ptr<State> state_;
};

// Decodes a growing sequence: never emits half a character. What push() returned, joined, plus finish(), equals
// decode().
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  std::string push(int32_t id);
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  DecoderStates states_;
};

}  // namespace trireme
