#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/hash.h"
#include "comm/collective.h"
#include "device/device.h"
#include "engine/step_plan.h"
#include "model/stage.h"

namespace trireme {

// From the residual stream of the last stage to tokens, log-probs and digests. All ranks of the last stage's group call
// it alike; rank 0 of the group has the result. Rows go through in chunks of `limits.logit_rows`.
class Sampler {
 public:
  // on_host: kernels of the same bits for what the host samples itself. slots: sequences that may be alive at once.
  Sampler(const ModelConfig& config, Stage& stage, Collective& group, std::span<const RankShare> shares, Device& device,
          const Kernels& kernels, const Kernels& on_host, const StepLimits& limits, int slots);

  // Window bytes that the group needs.
  static size_t window_bytes(const ModelConfig& config, const UnitTable& units, int tp, const StepLimits& limits);

  // Of the logits that rank 0 of the group gathers.
  static int64_t gathered_bytes(const ModelConfig& config, const StepLimits& limits);

  // Shows every scored prompt position, the logits after it and nothing else of them, on rank 0 of the group: ascending
  // within a sequence.
  using Witness = std::function<void(int32_t position, std::span<const float> logits)>;
  void show_scored_to(Witness witness) { witness_ = std::move(witness); }

  // Whose exchanges pass on what is proposed.
  const Collective& group() const { return group_; }

  // x: [rows, hidden], the plan's rows in order. The result is empty on other ranks than 0. before_waiting: called once
  // the device has all of the first chunk, before the host waits for it; empty: nothing.
  StepResult run(const StepPlan& plan, MatrixView<const float> x, const std::function<void()>& before_waiting);

 private:
  struct Row {        // a row whose logits are wanted
    size_t item = 0;  // of the plan
    int32_t row = 0;  // of x
    int32_t position = 0;
    int32_t known_next = -1;  // the token that follows, or -1: sample it
  };
  struct SlotState {
    SamplerSpec spec;
    StreamHash digest;
  };

  void collect_rows(const StepPlan& plan);
  bool launch_chunk(std::span<const Row> rows, MatrixView<const float> x);
  void take_chunk(std::span<const Row> rows, bool all_logits, StepResult& result);
  bool wants_all_logits(const Row& row, const SamplerSpec& spec) const;
  void gather(int64_t rows, bool all_logits);
  void finish_row(size_t i, const Row& row, bool all_logits, ItemResult& result);
  SampledToken best_token(size_t i) const;
  SampledToken sample_restricted(size_t i, const Row& row, const SamplerSpec& spec);
  TokenLogprob logprob_of(size_t i, int32_t token, int count) const;

  const ModelConfig& config_;
  Stage& stage_;
  Collective& group_;
  std::vector<RankShare> shares_;  // [tp]
  Device& device_;
  const Kernels& kernels_;
  const Kernels& on_host_;
  int64_t chunk_rows_;

  std::vector<SlotState> slots_;
  std::vector<size_t> item_of_slot_;
  std::vector<Row> rows_;
  std::vector<int32_t> row_numbers_;          // [chunk]
  PinnedVector<SampleRow> sample_rows_;       // [chunk]
  std::vector<Collective::Piece> to_, from_;  // [tp]
  Buffer full_;                               // rank 0: [chunk, vocab] FP32, rows in token-id order
  PinnedVector<float> log_sums_;              // [chunk]
  Witness witness_;
  mutable std::vector<int32_t> order_;  // [vocab] scratch for top-k and top-p
};

}  // namespace trireme
