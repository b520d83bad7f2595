#include "engine/scheduler.h"

#include <algorithm>
#include <numeric>

#include "kernels/kernels.h"

namespace trireme {

namespace {

constexpr int32_t kForcedPreemptions = 3;  // of one sequence at most, so that every test run ends

int64_t blocks_for(int64_t positions) { return (positions + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits), pool_(limits.kv_blocks), prompt_rows_(static_cast<size_t>(limits.in_flight) - 1) {
  slots_.resize(static_cast<size_t>(limits.max_seqs));
  for (int32_t slot = limits.max_seqs - 1; slot >= 0; slot--) free_slots_.push_back(slot);
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  must(fits(sequence->request), "a request that the cache can never hold is turned away before");
  waiting_.push_back(std::move(sequence));
}

// The last sampled token is never computed, but may be in the same block as the one before.
int64_t Scheduler::positions_needed(const Request& request) const {
  return std::min(static_cast<int64_t>(request.prompt.size()) + std::max<int64_t>(request.sampling.max_tokens, 1) - 1,
                  limits_.max_positions);
}

bool Scheduler::fits(const Request& request) const { return blocks_for(positions_needed(request)) <= pool_.total(); }

bool Scheduler::schedule(StepPlan& plan) {
  steps_++;
  if (limits_.preempt_every > 0 && steps_ % limits_.preempt_every == 0) force_preemption();
  admit();

  plan.items.clear();
  const int32_t tokens = add_rows(plan, true, std::min(limits_.max_step_tokens, token_share()));
  const int32_t prompts = add_rows(plan, false, std::min(limits_.max_step_tokens - tokens, prompt_share()));
  if (plan.items.empty()) return false;
  prompt_rows_.push_back(prompts);
  prompt_rows_.pop_front();
  return true;
}

// Of sequences that need one row, or of those that need more: up to `room` rows, in order of admission. Returns them.
int32_t Scheduler::add_rows(StepPlan& plan, bool decoding, int32_t room) {
  const int32_t before = room;
  const std::vector<Sequence*> candidates = running_;  // reserve() may preempt
  for (Sequence* s : candidates) {
    if (room == 0) break;
    const int32_t remaining = s->length() - s->computed;
    if (s->awaiting_token || s->last_step == steps_ || (remaining == 1) != decoding) continue;
    if (std::find(running_.begin(), running_.end(), s) == running_.end()) continue;
    const int32_t count = std::min(remaining, room);
    if (!reserve(*s, s->computed + count)) continue;
    add_item(plan, *s, count);
    room -= count;
  }
  return before - room;
}

// With several stages every step takes its share of the sequences, so that each stage has a step to work on.
int32_t Scheduler::token_share() const {
  return (static_cast<int32_t>(running_.size()) + limits_.in_flight - 1) / limits_.in_flight;
}

// And its share of the prompts' rows, those of the steps under way counted in: a stage would else wait while a prompt
// passes another.
int32_t Scheduler::prompt_share() const {
  if (limits_.in_flight == 1) return limits_.max_step_tokens;
  int64_t rows = std::accumulate(prompt_rows_.begin(), prompt_rows_.end(), int64_t{0});
  for (const Sequence* s : running_)
    if (const int32_t remaining = s->length() - s->computed; remaining > 1) rows += remaining;
  const auto share = static_cast<int32_t>((rows + limits_.in_flight - 1) / limits_.in_flight);
  return std::clamp(share, least_prompt_rows(limits_.max_step_tokens), limits_.max_step_tokens);
}

// Preempted sequences first, then waiting ones, as long as the cache can hold the text that each of them has so far
// beside what the running ones still need for theirs.
void Scheduler::admit() {
  int64_t promised = 0;
  for (const Sequence* s : running_) promised += std::max<int64_t>(0, blocks_for(s->length()) - std::ssize(s->blocks));
  while (running_.size() < static_cast<size_t>(limits_.max_seqs)) {
    const bool again = !preempted_.empty();
    if (!again && (waiting_.empty() || free_slots_.empty())) return;
    Sequence* next = again ? preempted_.front() : waiting_.front().get();
    const int64_t needed = blocks_for(next->length());
    if (!running_.empty() && pool_.available() - promised < needed) return;
    promised += needed;
    if (again) {
      preempted_.pop_front();
    } else {
      next->slot = free_slots_.back();
      free_slots_.pop_back();
      slots_[static_cast<size_t>(next->slot)] = std::move(waiting_.front());
      waiting_.pop_front();
    }
    running_.push_back(next);
  }
}

// Blocks for the positions before `end_position`, taken from later admitted sequences if need be.
bool Scheduler::reserve(Sequence& sequence, int32_t end_position) {
  const int64_t needed = blocks_for(end_position) - std::ssize(sequence.blocks);
  while (pool_.available() < needed) {
    Sequence* victim = running_.back();
    if (victim == &sequence || victim->last_step == steps_) return false;
    preempt(*victim);
  }
  for (int64_t i = 0; i < needed; i++) sequence.blocks.push_back(pool_.take());
  return true;
}

// Its blocks go to others at once: every stage runs the steps in order, so whoever gets them writes after it has read.
void Scheduler::preempt(Sequence& victim) {
  pool_.give_back(victim.blocks);
  victim.computed = 0;
  victim.restart = true;
  victim.preemptions++;
  preemptions_++;
  running_.erase(std::find(running_.begin(), running_.end(), &victim));
  preempted_.push_front(&victim);
}

void Scheduler::force_preemption() {
  for (auto s = running_.rbegin(); s != running_.rend(); ++s)
    if ((*s)->preemptions < kForcedPreemptions && (*s)->computed > 0) return preempt(**s);
}

void Scheduler::add_item(StepPlan& plan, Sequence& s, int32_t count) {
  PlanItem item;
  item.slot = s.slot;
  item.position = s.computed;
  item.logit_from = s.logit_from;
  item.admit = !s.admitted;
  item.restart = s.restart;
  if (item.admit) {
    const SamplingParams& p = s.request.sampling;
    // The seed is mixed with the document's key, so that equal texts in one run still get noise of their own.
    item.spec = {p.temperature,
                 p.top_p,
                 p.top_k,
                 p.logprobs,
                 p.prompt_logprobs,
                 p.digest,
                 s.request.noise_key ^ (p.seed * 0x9e3779b97f4a7c15ull),
                 s.prompt_tokens()};
  }
  item.tokens.assign(s.tokens.begin() + s.computed, s.tokens.begin() + s.computed + count);
  const size_t known = s.restart ? 0 : static_cast<size_t>(blocks_for(s.computed));
  item.new_blocks.assign(s.blocks.begin() + static_cast<std::ptrdiff_t>(known), s.blocks.end());
  s.computed += count;
  if (s.computed < s.length()) item.next_token = s.tokens[static_cast<size_t>(s.computed)];
  s.awaiting_token = s.computed == s.length();
  s.logit_from = std::max(s.logit_from, s.computed);
  s.admitted = true;
  s.restart = false;
  s.last_step = steps_;
  s.steps_in_flight++;
  plan.items.push_back(std::move(item));
}

void Scheduler::token_sampled(Sequence& sequence, int32_t token) {
  sequence.tokens.push_back(token);
  sequence.awaiting_token = false;
}

std::unique_ptr<Sequence> Scheduler::finish(Sequence& sequence) {
  pool_.give_back(sequence.blocks);
  std::erase(running_, &sequence);
  std::erase(preempted_, &sequence);
  free_slots_.push_back(sequence.slot);
  return std::move(slots_[static_cast<size_t>(sequence.slot)]);
}

}  // namespace trireme
