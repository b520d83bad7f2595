#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "comm/collective.h"
#include "engine/sampler.h"
#include "engine/step_arrays.h"
#include "engine/step_plan.h"
#include "model/stage.h"

namespace trireme {

// Seconds of this rank since the start, for the summary.
struct StepTimes {
  double prefill = 0;        // in steps with a prefill chunk
  double decode = 0;         // in steps with decode rows alone
  double communication = 0;  // of these, in exchanges and hops, waiting included
  double waiting = 0;        // of these, for other ranks (beyond brief spins)
  int64_t prefill_tokens = 0;
  int64_t decode_tokens = 0;
  int64_t tokens() const { return prefill_tokens + decode_tokens; }
};

// One rank's part of a step: the same on the leader and on its followers. Keeps every slot's block table, which the
// plans extend; turns a plan into rows; passes the residual stream from stage to stage.
class Runner {
 public:
  // previous / next: the neighbouring stages' channels for memory of `device`, null at the ends. sampler: last stage
  // only. rope_positions: of the RoPE tables.
  Runner(const ModelConfig& config, Stage& stage, Sampler* sampler, Collective& group, Receiver* previous, Sender* next,
         Device& device, Waiter& waiter, const StepLimits& limits, int slots, int64_t rope_positions);

  // Bytes of the largest message between stages.
  static size_t hop_bytes(const ModelConfig& config, const StepLimits& limits);
  // Of host memory, and of memory that host and device have one each of: block tables, and the arrays of a step.
  static int64_t table_bytes(const ModelConfig& config, int64_t slots);
  static int64_t staged_bytes(const ModelConfig& config, const StepLimits& limits, int64_t slots);

  // The result on rank 0 of the last stage's group, nothing elsewhere. meanwhile: called, once at most, where the host
  // would begin to wait for a device that has all of the step; it may ask nothing of the other ranks that their step
  // waits for. Empty: nothing.
  std::optional<StepResult> run(const StepPlan& plan, const std::function<void()>& meanwhile = {});

  const StepTimes& times() const { return times_; }

 private:
  static int64_t table_blocks(const ModelConfig& config);
  double exchange_seconds() const;
  void lay_out(const StepPlan& plan, int64_t rows);
  int32_t angle_of(int32_t position, int32_t prompt_tokens) const;

  const ModelConfig& config_;
  Stage& stage_;
  Sampler* sampler_;
  Collective& group_;
  Receiver* previous_;
  Sender* next_;
  Device& device_;
  Waiter& waiter_;
  int64_t rope_positions_;
  StepTimes times_;

  int64_t table_blocks_;                // of the longest sequence
  Buffer block_tables_;                 // [slots, table_blocks] int32
  std::vector<int64_t> table_sizes_;    // [slots] blocks of each
  std::vector<int32_t> prompt_tokens_;  // [slots]
  StepArrays arrays_;
  Buffer residual_;  // [rows, hidden] FP32
};

}  // namespace trireme
