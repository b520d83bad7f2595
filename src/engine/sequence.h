#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/request.h"
#include "text/tokenizer.h"

namespace trireme {

// A document on its way through the engine, as the leader knows it.
struct Sequence {
  // tokenizer: null where nobody wants text.
  Sequence(Request r, const Tokenizer* tokenizer)
      : request(std::move(r)),
        tokens(request.prompt),
        computed(request.assumed_positions),
        logit_from(request.sampling.prompt_logprobs >= 0 ? 0 : static_cast<int32_t>(request.prompt.size()) - 1) {
    if (tokenizer) decoder.emplace(*tokenizer);
  }

  Request request;
  std::vector<int32_t> tokens;  // prompt, then generated
  std::optional<StreamDecoder> decoder;
  Completion completion;          // grows as tokens come
  std::vector<size_t> text_ends;  // [generated] length of the text after each token, for cutting at a stop text
  int32_t slot = -1;              // while running or preempted
  int32_t computed;               // positions whose K and V are in the cache (or will be by the steps in flight)
  int32_t logit_from;             // first position whose logits nobody has seen yet
  bool awaiting_token = false;    // its next token is being sampled by a step in flight
  bool admitted = false;          // the other ranks know its slot
  bool restart = true;            // its block table starts empty
  int32_t steps_in_flight = 0;    // that it is part of
  int64_t last_step = 0;          // number of the step that it was last part of
  std::vector<int32_t> blocks;    // block table
  int32_t preemptions = 0;

  int32_t prompt_tokens() const { return static_cast<int32_t>(request.prompt.size()); }
  int32_t length() const { return static_cast<int32_t>(tokens.size()); }
  int64_t generated() const { return length() - prompt_tokens(); }
};

}  // namespace trireme
