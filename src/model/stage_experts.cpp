// The mixture of experts in place of an MLP.
#include <algorithm>

#include "model/stage.h"

namespace trireme {

// Every rank routes alike and computes the experts it holds, each over the rows that go to it; leaves the roots of the
// tree over all experts.
void Stage::mix_experts(const Input& in, const LayerWeights& layer) {
  const int64_t rows = in.x.rows, hidden = config_.hidden_size, columns = mlp_columns_;
  MatrixView<float> logits(router_, rows, config_.num_experts);
  product(in.encoded, layer.router, over_hidden_, logits.data, logits.stride, 0);
  const int64_t held = std::ssize(layer.experts);
  chosen_.resize(static_cast<size_t>(rows * config_.experts_per_token));
  chosen_weight_.resize(chosen_.size());
  assignment_.resize(static_cast<size_t>(rows * held));
  weight_.resize(assignment_.size());
  device_.launch(kernels_.route,
                 Route{logits, config_.experts_per_token, config_.norm_topk_prob, chosen_, chosen_weight_});
  device_.synchronize();

  int64_t mixed = 0;  // rows of mixed_ so far
  for (int e = 0; e < held; e++) {
    const ExpertWeights& expert = layer.experts[static_cast<size_t>(e)];
    const int64_t count = gather_rows(e, mixed, in.x);
    if (count == 0) continue;
    MatrixView<float> gate_up(gate_up_, count, 2 * columns);
    MatrixView<float> gate(gate_up_, count, columns, 2 * columns), up(gate_up_ + columns, count, columns, 2 * columns);
    const MatrixView<const float> gathered(gathered_, count, hidden);
    project({gathered, encoded(gathered, expert.gate_up.parts.front().w)}, expert.gate_up, {}, gate_up);
    product(activate(gate, up, expert.down), expert.down, over_intermediate_, mixed_ + mixed * hidden, hidden, 0);
    mixed += count;
  }
  device_.launch(kernels_.expert_combine, ExpertCombine{{mixed_, mixed, hidden},
                                                        assignment_,
                                                        weight_,
                                                        &over_experts_,
                                                        rows,
                                                        reduce_mlp_.roots(),
                                                        reduce_mlp_.root_stride(rows)});
}

// Brings the rows that chose a held expert together, in order; their results will stand at mixed_ row `first` and on.
int64_t Stage::gather_rows(int expert, int64_t first, MatrixView<const float> x) {
  const int64_t held = share_.mlp.size(), per_row = config_.experts_per_token;
  const size_t row_bytes = static_cast<size_t>(x.columns) * sizeof(float);
  int64_t count = 0;
  for (int64_t row = 0; row < x.rows; row++) {
    const auto begin = chosen_.begin() + row * per_row, end = begin + per_row;
    const auto found = std::find(begin, end, share_.mlp.begin + expert);
    const size_t cell = static_cast<size_t>(row * held + expert);
    assignment_[cell] = found == end ? -1 : static_cast<int32_t>(first + count);
    if (found == end) continue;
    weight_[cell] = chosen_weight_[static_cast<size_t>(found - chosen_.begin())];
    device_.copy(gathered_ + count++ * x.columns, x.row(row), row_bytes);
  }
  return count;
}

}  // namespace trireme
