#pragma once

#include "engine/engine.h"
#include "launch/session.h"

namespace trireme {

// What an engine is given to measure it: `sequences` prompts of `prompt` tokens, of which each then decodes `generate`
// together with the others. Where decoding is measured, prompts are assumed but for their last token: a step costs the
// same whatever numbers the cache holds, as long as a model's experts are chosen alike.
struct StepLoad {
  bool decode = true;
  int64_t sequences = 1, prompt = 16, generate = 16;

  int64_t positions() const { return prompt + generate; }                                           // of a sequence
  int64_t blocks() const { return sequences * ((positions() + kBlockTokens - 1) / kBlockTokens); }  // of the cache
};

// Numbers into the cache: on a GPU all of it, elsewhere the first `blocks`, which an engine takes first, for pages that
// nobody has written are all one page of zeros, and cost less than memory. Collective, after Session::load().
void fill_cache(Session& session, int64_t blocks);

// One replica's measurement, on its leader while the others follow: tokens per second of all steps of the load, but of
// decoding for the first, which begins all sequences and is one more than `generate`. By the leader's clock: its own
// stage's time is a part of that alone.
double measure_rate(Session& session, Engine& engine, const StepLoad& load);

}  // namespace trireme
