#pragma once

#include <string>

#include "checkpoint/gguf.h"

namespace trireme {

// A tokenizer.json (Hugging Face format) with the behaviour of the one that the GGUF file was made from: byte-level BPE
// from tokens, merges and the pre-tokenizer's name (tokenizer.ggml.model gpt2), or SentencePiece's BPE with byte
// fallback from tokens and scores (llama). Throws Error(bad_data) for tokenizers of other kinds, by name.
std::string gguf_tokenizer_json(const Gguf& gguf);
// Whether BOS stands before a raw completion: what the file says, else what its kind of tokenizer is known for.
bool gguf_adds_bos(const Gguf& gguf);

}  // namespace trireme
