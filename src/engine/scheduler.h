#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "engine/block_pool.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"

namespace trireme {

struct SchedulerLimits {
  int32_t max_seqs = 16;          // sequences that run at once
  int32_t max_step_tokens = 256;  // rows of a step: decode rows and prefill chunks together
  int32_t kv_blocks = 0;
  int32_t in_flight = 1;      // steps that may run at once: the number of pipeline stages
  int64_t max_positions = 0;  // the model's context
  int64_t preempt_every = 0;  // tests: preempt a sequence every N steps
};

// Rows of prompts that a step gets at least where several are in flight: of fewer, reading the weights takes as long.
constexpr int32_t least_prompt_rows(int32_t max_step_tokens) { return std::max(1, max_step_tokens / 8); }

// Continuous batching over a paged KV cache: decode rows first, then prefill chunks in order of admission, admission by
// free KV blocks, preemption by recomputation of the latest admitted. Pure decisions: no device, no MPI, no clock.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  void add(std::unique_ptr<Sequence> sequence);
  // The next step, or false when nothing can run before a step in flight comes back.
  bool schedule(StepPlan& plan);
  // Appends the sampled tokens; the caller decides who is finished (finish()).
  Sequence& in_slot(int32_t slot) { return *slots_[static_cast<size_t>(slot)]; }
  void token_sampled(Sequence& sequence, int32_t token);
  std::unique_ptr<Sequence> finish(Sequence& sequence);  // frees slot and blocks

  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  bool empty() const { return waiting_.empty() && running_.empty() && preempted_.empty(); }
  int64_t preemptions() const { return preemptions_; }
  const BlockPool& blocks() const { return pool_; }
  const SchedulerLimits& limits() const { return limits_; }

  // KV positions a sequence may come to need; more than the whole cache can never run.
  int64_t positions_needed(const Request& request) const;
  bool fits(const Request& request) const;

 private:
  void admit();
  int32_t token_share() const;
  int32_t prompt_share() const;
  int32_t add_rows(StepPlan& plan, bool decoding, int32_t room);
  bool reserve(Sequence& sequence, int32_t end_position);
  void preempt(Sequence& victim);
  void force_preemption();
  void add_item(StepPlan& plan, Sequence& sequence, int32_t count);

  SchedulerLimits limits_;
  BlockPool pool_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<Sequence*> running_;                // in order of admission
  std::deque<Sequence*> preempted_;               // they keep their slots and go before waiting_
  std::vector<std::unique_ptr<Sequence>> slots_;  // [slots]
  std::vector<int32_t> free_slots_;
  std::deque<int32_t> prompt_rows_;  // [in_flight - 1] of the steps before the next, oldest first
  int64_t steps_ = 0;
  int64_t preemptions_ = 0;
};

}  // namespace trireme
