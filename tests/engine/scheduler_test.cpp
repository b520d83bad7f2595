#include "engine/scheduler.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "kernels/kernels.h"

using namespace trireme;

namespace {

std::unique_ptr<Sequence> sequence(uint64_t row, int32_t prompt, int64_t max_tokens) {
  Request r;
  r.row = row;
  r.prompt.assign(static_cast<size_t>(prompt), 0);
  r.sampling.max_tokens = max_tokens;
  return std::make_unique<Sequence>(std::move(r), nullptr);
}

// Runs all to the end and checks on the way what must hold of every plan. Returns the number of steps.
int run_to_end(Scheduler& scheduler, size_t sequences) {
  std::map<int32_t, std::vector<int32_t>> tables;  // slot -> blocks, as a follower keeps them
  std::map<int32_t, int32_t> cached;               // slot -> positions in the cache
  size_t finished = 0;
  int steps = 0;
  StepPlan plan;
  for (; finished < sequences; steps++) {
    REQUIRE(steps < 100000);
    REQUIRE(scheduler.schedule(plan));
    CHECK(plan.rows() <= scheduler.limits().max_step_tokens);
    for (const PlanItem& item : plan.items) {
      auto& table = tables[item.slot];
      if (item.restart) table.clear(), cached[item.slot] = 0;
      table.insert(table.end(), item.new_blocks.begin(), item.new_blocks.end());
      CHECK(item.position == cached[item.slot]);  // no position is skipped or computed twice
      cached[item.slot] += static_cast<int32_t>(item.tokens.size());
      CHECK(cached[item.slot] <= std::ssize(table) * kBlockTokens);
    }
    for (const PlanItem& item : plan.items) {
      Sequence& s = scheduler.in_slot(item.slot);
      if (!s.awaiting_token) continue;
      scheduler.token_sampled(s, 0);
      if (s.generated() >= s.request.sampling.max_tokens) scheduler.finish(s), finished++;
    }
  }
  CHECK(scheduler.empty());
  CHECK(scheduler.blocks().available() == scheduler.blocks().total());
  return steps;
}

}  // namespace

TEST_CASE("one sequence: a prefill in chunks, then a row a step") {
  Scheduler s({.max_seqs = 4, .max_step_tokens = 16, .kv_blocks = 8, .max_positions = 256});
  s.add(sequence(0, 40, 5));
  CHECK(run_to_end(s, 1) == 3 + 4);  // the last chunk samples the first of five tokens
}

TEST_CASE("decode rows go before prefill chunks and share a step with them") {
  Scheduler s({.max_seqs = 4, .max_step_tokens = 8, .kv_blocks = 32, .max_positions = 256});
  s.add(sequence(0, 4, 10));
  StepPlan plan;
  REQUIRE(s.schedule(plan));
  s.token_sampled(s.in_slot(plan.items[0].slot), 0);
  s.add(sequence(1, 20, 1));
  REQUIRE(s.schedule(plan));
  REQUIRE(plan.items.size() == 2);
  CHECK(plan.items[0].tokens.size() == 1);
  CHECK(plan.items[1].tokens.size() == 7);
}

TEST_CASE("500 sequences through a cache for three end, and all blocks come back") {
  Scheduler s({.max_seqs = 16, .max_step_tokens = 64, .kv_blocks = 12, .max_positions = 128});
  for (uint64_t i = 0; i < 500; i++)
    s.add(sequence(i, static_cast<int32_t>(1 + i % 60), static_cast<int64_t>(1 + i % 64)));
  run_to_end(s, 500);
  CHECK(s.preemptions() > 0);
}

TEST_CASE("forced preemption ends, whatever the chunk") {
  for (int32_t chunk : {1, 7, 64}) {
    Scheduler s({.max_seqs = 3, .max_step_tokens = chunk, .kv_blocks = 64, .max_positions = 256, .preempt_every = 2});
    for (uint64_t i = 0; i < 7; i++) s.add(sequence(i, static_cast<int32_t>(10 + 13 * i), 6));
    run_to_end(s, 7);
    CHECK(s.preemptions() > 0);
  }
}

TEST_CASE("with several steps in flight each takes its share of the sequences") {
  Scheduler s({.max_seqs = 8, .max_step_tokens = 64, .kv_blocks = 64, .in_flight = 4, .max_positions = 256});
  for (uint64_t i = 0; i < 8; i++) s.add(sequence(i, 4, 4));
  StepPlan plan;
  std::set<int32_t> slots;
  for (int step = 0; step < 4; step++) {
    REQUIRE(s.schedule(plan));
    CHECK(plan.items.size() == 2);
    for (const PlanItem& item : plan.items) CHECK(slots.insert(item.slot).second);
  }
  CHECK_FALSE(s.schedule(plan));  // all wait for their tokens
}

TEST_CASE("with several steps in flight a prompt goes in as many pieces, of which none is tiny") {
  const auto pieces = [](int32_t in_flight, int32_t prompt) {
    Scheduler s({.max_seqs = 4, .max_step_tokens = 64, .kv_blocks = 64, .in_flight = in_flight, .max_positions = 256});
    s.add(sequence(0, prompt, 2));
    std::vector<size_t> rows;
    for (StepPlan plan; s.schedule(plan);) rows.push_back(plan.items.at(0).tokens.size());
    return rows;
  };
  CHECK(pieces(1, 40) == std::vector<size_t>{40});
  CHECK(pieces(2, 40) == std::vector<size_t>{20, 20});
  CHECK(pieces(3, 40) == std::vector<size_t>{14, 14, 12});
  CHECK(pieces(4, 20) == std::vector<size_t>{8, 8, 4});
  CHECK(pieces(2, 150) == std::vector<size_t>{64, 64, 22});
}

TEST_CASE("with several steps in flight a prompt shares each with its part of the sequences that generate") {
  Scheduler s({.max_seqs = 5, .max_step_tokens = 64, .kv_blocks = 64, .in_flight = 2, .max_positions = 256});
  for (uint64_t i = 0; i < 4; i++) s.add(sequence(i, 1, 9));
  s.add(sequence(4, 33, 9));
  StepPlan plan;
  std::vector<size_t> tokens, prompts;
  for (int step = 0; step < 2; step++) {
    REQUIRE(s.schedule(plan));
    tokens.push_back(plan.items.size() - 1), prompts.push_back(plan.items.back().tokens.size());
  }
  CHECK(tokens == std::vector<size_t>{3, 1});
  CHECK(prompts == std::vector<size_t>{17, 16});
}

TEST_CASE("a request that outgrows the whole cache does not fit") {
  Scheduler s({.max_seqs = 1, .max_step_tokens = 8, .kv_blocks = 2, .max_positions = 4096});
  CHECK(s.fits(sequence(0, 60, 5)->request));  // 64 positions: the last token is never computed
  CHECK_FALSE(s.fits(sequence(0, 60, 6)->request));
}
