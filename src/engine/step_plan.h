#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"

namespace trireme {

// How the sampler treats a sequence; travels once, when the sequence gets its slot.
struct SamplerSpec {
  float temperature = 0;
  float top_p = 1;
  int32_t top_k = 0;
  int32_t logprobs = -1;
  int32_t prompt_logprobs = -1;
  uint8_t digest = 0;
  uint64_t noise_key = 0;  // of (seed, document)
  int32_t prompt_tokens = 0;
};

// One sequence's share of a step: the next tokens of its text, at consecutive positions.
struct PlanItem {
  int32_t slot = 0;
  int32_t position = 0;     // of the first token
  int32_t logit_from = 0;   // logits are wanted at positions >= this
  int32_t next_token = -1;  // the token after these, when it is known already; -1: sample it
  uint8_t admit = 0;        // the slot is new: `spec` holds
  uint8_t restart = 0;      // the block table starts empty (admission, and after a preemption)
  SamplerSpec spec;
  std::vector<int32_t> tokens;      // not empty
  std::vector<int32_t> new_blocks;  // appended to the slot's block table
};

// What every rank of a replica does next, decided by its leader alone.
struct StepPlan {
  uint64_t number = 0;          // 1, 2, 3 ...
  uint8_t stop = 0;             // no more steps
  std::vector<PlanItem> items;  // may be empty: a sign of life

  int64_t rows() const;
};

// With an XXH3 of the content at the end; parse() refuses (Error(internal)) a plan that is damaged or not number
// `expected_number`, which means that ranks have diverged.
std::vector<std::byte> serialize(const StepPlan& plan);
StepPlan parse_plan(std::span<const std::byte> bytes, uint64_t expected_number);

// What the last stage gives back for an item whose logits were wanted.
struct ItemResult {
  static constexpr int32_t kNone = -1, kNumericalError = -2;
  int32_t slot = 0;
  int32_t token = kNone;                      // sampled
  uint64_t digest = 0;                        // so far
  std::vector<TokenLogprob> logprobs;         // of the sampled token: one, if asked for
  std::vector<TokenLogprob> prompt_logprobs;  // of the known tokens after this item's rows, in order
};
struct StepResult {
  std::vector<ItemResult> items;
};
std::vector<std::byte> serialize(const StepResult& result);
StepResult parse_result(std::span<const std::byte> bytes);

}  // namespace trireme
