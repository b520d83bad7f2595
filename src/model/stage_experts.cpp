// The mixture of experts in place of an MLP.
#include "model/stage.h"

namespace trireme {

// Every rank routes alike and computes the experts it holds, each over the rows that go to it; leaves the roots of the
// tree over all experts.
void Stage::mix_experts(const Input& in, const LayerWeights& layer) {
  const int64_t rows = in.x.rows, hidden = config_.hidden_size;
  MatrixView<float> logits(router_, rows, config_.num_experts);
  product(in.encoded, layer.router, over_hidden_, logits.data, logits.stride, 0);
  const ExpertRows::Choices choices = expert_rows_.choices(rows);
  device_.launch(kernels_.route,
                 Route{logits, config_.experts_per_token, config_.norm_topk_prob, choices.experts, choices.weights});
  expert_rows_.fetch(rows);
  device_.synchronize();
  expert_rows_.list(rows, in.x.data);

  int64_t mixed = 0;  // rows of mixed_ so far
  for (size_t e = 0; e < layer.experts.size(); e++) {
    const ExpertWeights& expert = layer.experts[e];
    const std::span<const RowPlace> chosen_by = expert_rows_.rows_of(static_cast<int>(e));
    const int64_t count = std::ssize(chosen_by);
    if (count == 0) continue;
    const MatrixView<float> gathered(gathered_, count, hidden);
    device_.launch(kernels_.gather_rows, GatherRows{expert_rows_.source(), in.x.stride, chosen_by, gathered});
    const Input rows_of_expert{gathered, encoded(gathered, expert.gate_up.parts.front().w)};
    product(gated(rows_of_expert, expert.gate_up, {}, expert.down), expert.down, over_intermediate_,
            mixed_ + mixed * hidden, hidden, 0);
    mixed += count;
  }
  device_.launch(kernels_.expert_combine, ExpertCombine{{mixed_, mixed, hidden},
                                                        expert_rows_.assignment(),
                                                        expert_rows_.weights(),
                                                        &over_experts_,
                                                        rows,
                                                        reduce_mlp_.roots(),
                                                        reduce_mlp_.root_stride(rows)});
}

}  // namespace trireme
