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

// One replica's measurement, on its leader while the others follow. Tokens per second of the steps with decode rows
// alone, or of those with a prefill chunk. By the leader's clock from step to step: its own stage's time is a part of
// that alone.
double measure_rate(Session& session, Engine& engine, const StepLoad& load);

}  // namespace trireme
