#include "launch/measure_steps.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "base/error.h"
#include "launch/probe_products.h"
#include "launch/together.h"

namespace trireme {

namespace {

// Token ids that no tokenizer chose: the cost of a step does not depend on them.
std::vector<int32_t> any_prompt(int64_t tokens, int64_t vocab_size, int64_t salt) {
  std::vector<int32_t> prompt(static_cast<size_t>(tokens));
  for (size_t i = 0; i < prompt.size(); i++)
    prompt[i] = static_cast<int32_t>((static_cast<int64_t>(i) * 7919 + salt * 104729) % vocab_size);
  return prompt;
}

struct Blocks {
  std::span<uint32_t> words;
  size_t each;  // words of a block
};

// Spread over the team's threads: on machines of several NUMA nodes memory is near whoever writes it first.
void fill_blocks(const Launch& launch, const Blocks& blocks) {
  const size_t count = blocks.words.size() / blocks.each;
  for (auto i = static_cast<size_t>(launch.part); i < count; i += static_cast<size_t>(launch.parts)) {
    std::mt19937 random(static_cast<uint32_t>(i));
    std::ranges::generate(blocks.words.subspan(i * blocks.each, blocks.each),
                          [&] { return word_of_numbers(static_cast<uint32_t>(random())); });
  }
}

}  // namespace

void fill_cache(Session& session, int64_t blocks) {
  KvCache& cache = session.cache();
  if (session.gpu()) return together(session.world(), [&] { fill_with_numbers(*session.gpu(), cache.memory()); });
  must(blocks <= cache.blocks(), "the cache has room for a load");
  const std::span<uint32_t> words = cache.memory().span<uint32_t>();
  const size_t each = words.size() / static_cast<size_t>(cache.blocks());
  session.device().launch(&fill_blocks, Blocks{words.first(each * static_cast<size_t>(blocks)), each});
}

double measure_rate(Session& session, Engine& engine, const StepLoad& load) {
  const int64_t tokens = load.generate + (load.decode ? 1 : 0);
  for (int64_t i = 0; i < load.sequences; i++) {
    Request request;
    request.row = static_cast<uint64_t>(i);
    request.prompt = any_prompt(load.prompt, session.config().vocab_size, i);
    if (load.decode) request.assumed_positions = static_cast<int32_t>(load.prompt - 1);
    request.sampling.max_tokens = tokens;
    request.sampling.ignore_eos = true;
    engine.submit(std::move(request));
  }
  if (load.decode) engine.step();
  const StepTimes& times = session.runner().times();
  const int64_t before = times.tokens();
  const auto start = std::chrono::steady_clock::now();
  while (!engine.idle()) engine.step();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const Completion& done : engine.take_finished())
    if (done.completion_tokens != tokens || !done.error_message.empty())
      fail(ExitCode::internal, "internal error: {} of {} tokens came ({})", done.completion_tokens, tokens,
           done.error_message);
  return static_cast<double>(times.tokens() - before) / seconds;
}

}  // namespace trireme
