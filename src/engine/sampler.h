#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/hash.h"
#include "comm/collective.h"
#include "device/device.h"
#include "engine/ranked_tokens.h"
#include "engine/step_plan.h"
#include "model/stage.h"

namespace trireme {

// From the residual stream of the last stage to tokens, log-probs and digests. All ranks of the last stage's group call
// it alike; rank 0 of the group has the result. Rows go through in chunks of `limits.logit_rows`, or fewer. A rank's
// logits stay where they are computed: it shows what it found in them, its best tokens and sums by unit of its
// vocabulary, and all of a row's only where somebody wants them all.
class Sampler {
 public:
  // on_host: kernels of the same bits for what the host samples itself. slots: sequences that may be alive at once.
  Sampler(const ModelConfig& config, const UnitTable& units, Stage& stage, Collective& group, Device& device,
          const Kernels& kernels, const Kernels& on_host, const StepLimits& limits, int slots);

  // Window bytes that the group needs.
  static size_t window_bytes(const ModelConfig& config, const UnitTable& units, int tp, const StepLimits& limits);
  // Of a rank's logits, on its device.
  static size_t logits_bytes(const RankShare& share, const StepLimits& limits);

  // Shows every scored prompt position, the logits after it and nothing else of them, on rank 0 of the group: ascending
  // within a sequence. All of the group call it, before the first step.
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
    // Its places in the lists of what the chunk's rows take beside each rank's best token; -1: in none.
    int log_sum = -1, nucleus = -1;  // sums of exponentials: of the logits, and at its temperature
    int ranked = -1;                 // best tokens
    int whole = -1;                  // all logits
    SampledToken chosen = {};
    float log_sum_exp = 0;  // rank 0: where a log-prob is wanted
  };
  // A sampled row whose nucleus is larger than what is ranked of it, and whose chosen token may lie outside.
  struct Doubt {
    size_t row = 0;     // of the chunk
    float largest = 0;  // logit
    double wanted = 0;  // as much below the largest as top_p asks for
  };
  struct SlotState {
    SamplerSpec spec;
    StreamHash digest;
  };
  // Where a rank's window holds what it shows of a chunk: candidates, and from these bytes on the rest.
  struct Shown {
    size_t sums = 0, best = 0, whole = 0, end = 0;
  };

  void collect_rows(const StepPlan& plan);
  std::span<Row> first_chunk(std::span<Row> rows) const;
  void launch_chunk(std::span<Row> rows, MatrixView<const float> x);
  void clear_lists();
  void list(size_t i, Row& row, const float* logits);
  void launch_listed();
  void take_chunk(std::span<Row> rows, StepResult& result);
  void settle_doubts(std::span<Row> rows);
  Shown shown_by(int rank) const;
  void exchange(bool with_all);
  void choose(size_t i, Row& row);
  void finish_row(Row& row, ItemResult& result);
  void take_token(const Row& row, ItemResult& result) const;
  bool is_cut(const Row& row) const;
  int32_t logprobs_of(const Row& row) const;
  int32_t ranked_of(const Row& row) const;
  bool is_shown_whole(const Row& row) const;
  const SamplerSpec& spec_of(const Row& row) const;

  // Of what the last exchange showed; some of it only on rank 0.
  SampledToken best_token(size_t i) const;
  bool has_nan(size_t i) const;
  std::span<const ExpSum> unit_sums(int place);
  void rank_tokens(const Row& row, int32_t count);
  template <typename F>
  void each_piece(int whole, const F& f) const;
  SampledToken best_of_first(size_t kept, const Row& row);
  TokenLogprob logprob_of(const Row& row, int32_t token, float logit, int count);

  const ModelConfig& config_;
  int32_t unit_;  // tokens of one
  Stage& stage_;
  Collective& group_;
  std::vector<RankShare> shares_;  // [tp]
  Device& device_;
  const Kernels& kernels_;
  const Kernels& on_host_;
  size_t chunk_rows_, whole_rows_of_chunk_;

  std::vector<SlotState> slots_;
  std::vector<size_t> slot_of_item_;  // of the plan
  std::vector<Row> rows_;
  Buffer logits_;  // [chunk, tokens held]
  Buffer parts_;   // [chunk, kSampleParts] SampledToken: a GPU's
  // Of a chunk.
  int32_t best_count_ = 0;                    // of every list of best tokens
  std::vector<int32_t> row_numbers_;          // [chunk]
  std::vector<size_t> whole_rows_;            // [rows shown whole]
  std::vector<Doubt> doubts_;                 // [rows in doubt]
  PinnedVector<SampleRow> sample_rows_;       // [chunk]
  PinnedVector<const float*> ranked_rows_;    // [chunk]
  PinnedVector<ExpSumRow> sum_rows_;          // [2 * chunk]
  std::vector<Collective::Piece> to_, from_;  // [tp]
  std::vector<ExpSum> unit_sums_;             // [units] of one row
  RankedTokens ranked_;                       // of one row
  std::vector<float> whole_row_;              // [vocab]
  Witness witness_;
};

}  // namespace trireme
