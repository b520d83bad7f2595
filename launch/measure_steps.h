#pragma once

#include "engine/engine.h"
#include "launch/session.h"

namespace trireme {

// What an engine is given to measure it: `sequences` prompts of `prompt` tokens, of which each then decodes `generate`
// together with the others.
struct StepLoad {
  bool decode = true;
  int64_t sequences = 1, prompt = 16, generate = 16;
};

// Tokens that each sequence of a decoding load generates when a step has `step_tokens` at most: the first ones have
// decoded for a while when the last one's prompt is through. On a GPU, where prompts are assumed, none of them waits.
int64_t tokens_of(const StepLoad& load, int64_t step_tokens, bool on_gpu);

// One replica's measurement, on its leader while the others follow. Tokens per second of the steps in which all
// sequences decode, or of those with a prefill chunk. By the leader's clock from step to step: its own stage's time is
// a part of that alone.
double measure_rate(Session& session, Engine& engine, const StepLoad& load);

}  // namespace trireme
