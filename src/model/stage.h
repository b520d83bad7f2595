#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "comm/tree_reduce.h"
#include "device/pinned_vector.h"
#include "kernels/kernels.h"
#include "model/expert_places.h"
#include "model/kv_cache.h"
#include "model/rope.h"
#include "model/step_batch.h"
#include "model/weights.h"

namespace trireme {

// One rank's share of one pipeline stage: the layers' arithmetic. The same code runs on every device; the tables it was
// given at set-up decide where. Nothing here allocates, locks or logs.
class Stage {
 public:
  // All references outlive the stage. group: the tensor-parallel ranks of this stage. ropes: the config's sets of
  // frequencies.
  Stage(const ModelConfig& config, const UnitTable& units, const StagePlace& place, const StageWeights& weights,
        const KvCache& cache, std::span<const Rope> ropes, Collective& group, Device& device, const Kernels& kernels,
        const StepLimits& limits);

  // Window bytes that the group needs: none for a group of one.
  static size_t window_bytes(const ModelConfig& config, const UnitTable& units, int tp, const StepLimits& limits);
  // Bytes that a stage takes of the device beside weights and cache, about: its activations, and the partial sums of a
  // group of one. Those of others lie in the group's windows.
  static int64_t scratch_bytes(const ModelConfig& config, const UnitTable& units, const StagePlace& place,
                               const StepLimits& limits);

  // The host's part of a step, before forward(). tokens: [rows] as the host reads them.
  void prepare(std::span<const int32_t> tokens);
  // batch: where operations read it. x: the residual stream, [rows, hidden], FP32, equal on all ranks of the group.
  // Written by the first stage, else what the stage before sent.
  void forward(const StepBatch& batch, MatrixView<float> x);

  // Whether steps of so many rows launch the same operations, so that a device may repeat them: exchanges pass through
  // the host unless they are operations themselves, and a GroupSum always.
  bool repeats(int64_t rows) const {
    return place_.tp == 1 || (group_.is_operation() && !reduce_mlp_.by_group_sum(rows));
  }

  // Last stage: the raw logits of the given rows of x for this rank's vocabulary: [rows given, tokens held].
  void head(MatrixView<const float> x, std::span<const int32_t> rows, MatrixView<float> logits);

  const RankShare& share() const { return share_; }

 private:
  // What one layer does besides its weights.
  struct LayerPlan {
    RopeTable rope;
    int32_t window = 0;  // 0: all positions
  };

  // Rows, and how the products that follow take them.
  struct Input {
    MatrixView<const float> x;
    Activations encoded;
  };
  // What takes the residual stream: its norm, empty in families without, and the first weights that follow.
  struct Sublayer {
    std::span<const float> norm;
    const PackedView* w = nullptr;
  };

  // What a row of a step takes of scratch memory: every buffer, and its floats.
  struct ScratchRow {
    std::array<std::pair<float * Stage::*, int64_t>, 8> buffers;
    int64_t encoded_bytes = 0;
    int64_t bytes() const;
  };
  static ScratchRow scratch_row(const ModelConfig& config, const RankShare& share);

  void share_tokens(std::span<const int32_t> tokens);
  void embed(const StepBatch& batch, MatrixView<float> x);
  void embed_together(MatrixView<float> x);
  void look_up(std::span<const int32_t> tokens, MatrixView<float> out);
  void attend(const Input& in, const LayerWeights& layer, const LayerPlan& plan, const KvPages& pages,
              const StepBatch& batch);
  void mlp(const Input& in, const LayerWeights& layer);
  void mix_experts(const Input& in, const LayerWeights& layer);
  Input reduce_add_norm(TreeReduce& reduce, std::span<const float> bias, std::span<const float> post_norm,
                        MatrixView<float> x, const Sublayer& next);
  Sublayer attention_of(size_t layer) const;
  Sublayer mlp_of(const LayerWeights& layer) const;
  void normalize_heads(MatrixView<float> q, MatrixView<float> k, const LayerWeights& layer);
  void normalize_rows(MatrixView<float> q, MatrixView<float> k, const LayerWeights& layer);
  void gather_squares(int64_t rows);
  void take_scratch(const StepLimits& limits, const UnitTable& units);

  void norm(MatrixView<const float> x, std::span<const float> weight, MatrixView<float> out);
  Input normed(MatrixView<const float> x, const Sublayer& sublayer);
  RmsNorm norm_into(MatrixView<const float> x, const Sublayer& sublayer) const;
  Input input_of(const RmsNorm& norm, const Sublayer& sublayer) const;
  Activations gated(const Input& in, const Projection& gate_up, std::span<const float> bias, const PackedView& down);
  Activations encoded(MatrixView<const float> x, const PackedView& w);
  Activations activations_for(MatrixView<const float> x, const PackedView& w) const;
  ExpertRows experts_of(const PackedView& w, int64_t rows) const;
  void column_parallel(Input in, const Projection& projection, std::span<const float> bias, MatrixView<float> out);
  void row_parallel(const Activations& in, const PackedView& w, const Contraction& contraction, TreeReduce& reduce);
  void product(const Activations& in, const PackedView& w, const Contraction& contraction, float* y, int64_t y_stride,
               int64_t root_stride);

  const ModelConfig& config_;
  StagePlace place_;
  const StageWeights& weights_;
  const KvCache& cache_;
  Collective& group_;
  Device& device_;
  const Kernels& kernels_;
  RankShare share_;
  std::vector<RankShare> shares_;  // [tp]
  std::vector<LayerPlan> layers_;  // of this stage
  float attention_scale_ = 0;
  int64_t mlp_columns_ = 0;  // of gate and of up, of one expert
  Contraction over_hidden_, over_heads_, over_intermediate_;
  TreeReduce reduce_attention_, reduce_mlp_;
  TreeProgram over_experts_;  // held
  ExpertPlaces expert_places_;
  Buffer kv_head_of_;  // [heads held] int32

  // Scratch, [rows, ...] of the largest step; [places, ...] where there are experts: a row stands once for each of
  // those it chose and the rank holds.
  Buffer memory_;
  float* normed_ = nullptr;                   // [rows, hidden]
  float* qkv_ = nullptr;                      // [rows, (heads + 2 kv_heads) * head_dim]
  float* attended_ = nullptr;                 // [rows, heads * head_dim]
  float* gate_up_ = nullptr;                  // [rows or places, 2 * mlp_columns]
  float* activated_ = nullptr;                // [rows or places, mlp_columns]
  float* squares_ = nullptr;                  // [rows, heads + kv_heads] of all ranks; norms of whole q and k rows
  float* router_ = nullptr;                   // [rows, experts]
  float* mixed_ = nullptr;                    // [places, hidden] inputs of experts, then their outputs
  std::byte* encoded_ = nullptr;              // [rows or places, widest input] in any activation form
  PinnedVector<int32_t> owned_tokens_;        // [rows] tokens of this step that this rank embeds, then kNoToken
  PinnedVector<RowPlace> token_places_;       // [rows] rank and place of a token's embedding
  PinnedVector<const float*> shown_;          // [tp] where they are
  PinnedVector<int32_t> head_rows_;           // [logit_rows]
  std::vector<int32_t> tokens_of_;            // [tp] of this step, how many
  std::vector<Collective::Piece> to_, from_;  // [tp]
};

}  // namespace trireme
