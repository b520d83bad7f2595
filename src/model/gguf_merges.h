#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/gguf_token_table.h"

namespace trireme {

// The merges of a tokenizer.json, as a JSON list.
// Those that a byte-level file states: tokenizer.ggml.merges.
std::string stated_merges(const Gguf& gguf, const GgufTokenTable& table);

// Those that a SentencePiece file implies by tokenizer.ggml.scores: each way to cut a token into two tokens, best score
// first; equal ones as transformers orders them. more: tokens that the table lacks.
std::string merges_by_score(const Gguf& gguf, const GgufTokenTable& table,
                            const std::vector<std::pair<std::string, size_t>>& more);

}  // namespace trireme
