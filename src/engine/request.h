#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace trireme {

struct SamplingParams {
  int64_t max_tokens = 256;  // 0: scoring
  float temperature = 0;     // 0: greedy
  float top_p = 1;           // (0, 1]
  int32_t top_k = 0;         // 0: off
  uint64_t seed = 0;
  std::vector<std::string> stop;  // the text ends before the first of these
  bool ignore_eos = false;
  int logprobs = -1;         // -1: none; K >= 0: the chosen token and the K best
  int prompt_logprobs = -1;  // likewise, for every prompt position
  bool digest = false;
};

// One document for the engine. Tokens are in [0, vocab_size) (the job layer checked).
struct Request {
  uint64_t row = 0;             // the job layer's own number, given back with the completion
  uint64_t noise_key = 0;       // of the document's id: sampling depends on (seed, noise_key, position, token) only
  std::vector<int32_t> prompt;  // not empty
  // Positions of the prompt whose keys and values are taken as the cache happens to have them: of use to a benchmark
  // alone, which wants a long context's cost and no text. Fewer than the prompt has.
  int32_t assumed_positions = 0;
  SamplingParams sampling;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // best first, ties by lower id
};

struct Completion {
  uint64_t row = 0;
  std::string text;
  std::string finish_reason;       // "stop", "length" or "error"
  std::vector<int32_t> token_ids;  // without end-of-text and tokens cut off by a stop text
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;                             // == token_ids.size()
  std::vector<TokenLogprob> logprobs;                        // one per token id
  std::vector<std::optional<TokenLogprob>> prompt_logprobs;  // one per prompt position, null for the first
  std::string digest;                                        // 16 hex, "" if not asked
  std::string error_code;                                    // "too_long", "numerical_error"; "" if none
  std::string error_message;
};

}  // namespace trireme
