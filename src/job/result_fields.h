#pragma once

#include "base/json_writer.h"
#include "engine/request.h"

namespace trireme {

// Parts of a result that our own lines and batch lines spell alike.
void write_token_ids(JsonWriter& json, const Completion& completion);        // "token_ids": [5, 9]
void write_prompt_logprobs(JsonWriter& json, const Completion& completion);  // nothing when there are none
void write_logprob(JsonWriter& json, const TokenLogprob& entry);             // {"id": 5, "logprob": -0.1, "top": [...]}

}  // namespace trireme
