#include "launch/measure_steps.h"

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

double measure_rate(Session& session, Engine& engine, const StepLoad& load) {
  using Clock = std::chrono::steady_clock;
  const StepTimes before = session.runner().times();
  // A GPU's cache is memory of its own from the start, and costs the same whatever is in it. The host's is not: pages
  // that nobody has written are all one page of zeros.
  const bool assumed = load.decode && session.gpu();
  // The step that computes the end of a prompt, and gives its first token, is none of decoding.
  const int64_t generate = load.generate + (load.decode && !assumed ? 1 : 0);
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
  while (!engine.idle()) {
    const int64_t prefilled = now.prefill_tokens;
    const Clock::time_point start = Clock::now();
    engine.step();
    const bool decoding = now.prefill_tokens == prefilled;
    if (decoding || !load.decode) seconds += std::chrono::duration<double>(Clock::now() - start).count();
  }
  for (const Completion& done : engine.take_finished())
    if (done.completion_tokens != generate || !done.error_message.empty())
      fail(ExitCode::internal, "internal error: {} of {} tokens came ({})", done.completion_tokens, generate,
           done.error_message);
  const int64_t tokens =
      load.decode ? now.decode_tokens - before.decode_tokens : now.prefill_tokens - before.prefill_tokens;
  return static_cast<double>(tokens) / seconds;
}

}  // namespace trireme
