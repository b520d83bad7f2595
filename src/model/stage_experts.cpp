// The mixture of experts in place of an MLP.
#include "model/stage.h"

namespace trireme {

// Every rank routes alike and computes the experts it holds, each over the rows that go to it; leaves the roots of the
// tree over all experts. By expert, a row stands in a place for each of its experts.
void Stage::mix_experts(const Input& in, const LayerWeights& layer) {
  const int64_t rows = in.x.rows, hidden = config_.hidden_size;
  const int top_k = config_.experts_per_token;
  const std::span<int32_t> experts = expert_places_.experts(rows), row_of = expert_places_.row_of(rows),
                           place_of = expert_places_.place_of(rows);
  const std::span<float> weights = expert_places_.weights(rows);
  const MatrixView<float> logits(router_, rows, config_.num_experts);
  product(in.encoded, layer.router, over_hidden_, logits.data, logits.stride, 0);
  device_.launch(kernels_.route, Route{logits, top_k, config_.norm_topk_prob, experts, weights});
  device_.launch(kernels_.place_by_expert,
                 PlaceByExpert{experts, top_k, share_.mlp.begin, expert_places_.ends(), row_of, place_of});

  const MatrixView<float> mixed(mixed_, std::ssize(row_of), hidden);  // inputs, then results
  if (mixed.rows > 0) {
    device_.launch(kernels_.take_rows, TakeRows{in.x, row_of, mixed});
    const Input by_expert{mixed, encoded(mixed, layer.gate_up.parts.front().w)};
    product(gated(by_expert, layer.gate_up, {}, layer.down), layer.down, over_intermediate_, mixed.data, mixed.stride,
            0);
  }
  device_.launch(kernels_.expert_combine,
                 ExpertCombine{mixed, experts, weights, place_of, top_k, share_.mlp, config_.num_experts,
                               &over_experts_, rows, reduce_mlp_.roots(), reduce_mlp_.root_stride(rows)});
}

// Whose matrix multiplies which of the rows that a product takes.
ExpertRows Stage::experts_of(const PackedView& w, int64_t rows) const {
  if (w.to_next == 0) return {};
  const int64_t of_step = rows / ExpertPlaces::of_row(config_.experts_per_token, share_.mlp);
  const int64_t chosen = of_step * config_.experts_per_token;
  return {expert_places_.ends(), (chosen + config_.num_experts - 1) / config_.num_experts};
}

}  // namespace trireme
