#include "launch/measure_steps.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace trireme {

namespace {

// Token ids that no tokenizer chose: the cost of a step does not depend on them.
std::vector<int32_t> any_prompt(int64_t tokens, int64_t vocab_size, int64_t salt) {
  std::vector<int32_t> prompt(static_cast<size_t>(tokens));
  for (size_t i = 0; i < prompt.size(); i++)
    prompt[i] = static_cast<int32_t>((static_cast<int64_t>(i) * 7919 + salt * 104729) % vocab_size);
  return prompt;
}

}  // namespace

int64_t tokens_of(const StepLoad& load, int64_t step_tokens, bool on_gpu) {
  if (!load.decode || on_gpu) return load.generate;
  // What the step brings that ends a prompt is none of decoding; a step of prompts has the others' decode rows, too.
  const int64_t for_prompts = std::max(int64_t{1}, step_tokens - load.sequences);
  const int64_t prompts = (load.sequences * load.prompt + for_prompts - 1) / for_prompts;
  return load.generate + 1 + (prompts > 1 ? prompts : 0);
}

double measure_rate(Session& session, Engine& engine, const StepLoad& load) {
  using Clock = std::chrono::steady_clock;
  // A GPU's cache is memory of its own from the start, and costs the same whatever is in it. The host's is not: pages
  // that nobody has written are all one page of zeros.
  const bool assumed = load.decode && session.gpu();
  const int64_t generate = tokens_of(load, session.scheduler_limits().max_step_tokens, assumed);
  for (int64_t i = 0; i < load.sequences; i++) {
    Request request;
    request.row = static_cast<uint64_t>(i);
    request.prompt = any_prompt(load.prompt, session.config().vocab_size, i);
    if (assumed) request.assumed_positions = static_cast<int32_t>(load.prompt - 1);
    request.sampling.max_tokens = generate;
    request.sampling.ignore_eos = true;
    engine.submit(std::move(request));
  }
  const StepTimes& now = session.runner().times();
  double seconds = 0;
  int64_t tokens = 0;
  while (!engine.idle()) {
    const StepTimes before = now;
    const bool all = static_cast<int64_t>(engine.scheduler().running()) == load.sequences;
    const Clock::time_point start = Clock::now();
    engine.step();
    const bool decoding = now.prefill_tokens == before.prefill_tokens;
    if (load.decode && (!decoding || !(all || assumed))) continue;
    seconds += std::chrono::duration<double>(Clock::now() - start).count();
    tokens += load.decode ? now.decode_tokens - before.decode_tokens : now.prefill_tokens - before.prefill_tokens;
  }
  for (const Completion& done : engine.take_finished())
    if (done.completion_tokens != generate || !done.error_message.empty())
      fail(ExitCode::internal, "internal error: {} of {} tokens came ({})", done.completion_tokens, generate,
           done.error_message);
  return static_cast<double>(tokens) / seconds;
}

}  // namespace trireme
