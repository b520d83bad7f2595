// Norms of whole rows of q and k, whose heads several ranks hold (OLMo 2).
#include "model/stage.h"

namespace trireme {

// The norm is over the heads of all ranks.
void Stage::normalize_rows(MatrixView<float> q, MatrixView<float> k, const LayerWeights& layer) {
  const bool alone = shares_.size() == 1;
  const int64_t rows = q.rows, width = config_.head_dim, mine = share_.num_heads + share_.num_kv_heads;
  float* squares = alone ? squares_ : reinterpret_cast<float*>(group_.window());
  device_.launch(kernels_.sum_squares, SumSquares{q, width, {squares, rows, share_.num_heads, mine}});
  device_.launch(kernels_.sum_squares,
                 SumSquares{k, width, {squares + share_.num_heads, rows, share_.num_kv_heads, mine}});
  if (!alone) gather_squares(rows);

  const int64_t heads = config_.num_heads, all = heads + config_.num_kv_heads;
  const auto epsilon = static_cast<float>(config_.rms_norm_eps);
  device_.launch(kernels_.norm_by_squares,
                 NormBySquares{q, layer.q_norm, {squares_, rows, heads, all}, heads * width, epsilon});
  device_.launch(
      kernels_.norm_by_squares,
      NormBySquares{k, layer.k_norm, {squares_ + heads, rows, all - heads, all}, (all - heads) * width, epsilon});
}

// Each rank shows the sums of squares of its own heads. A KV head that two ranks hold is taken from the first.
void Stage::gather_squares(int64_t rows) {
  const int64_t heads = config_.num_heads, all = heads + config_.num_kv_heads;
  for (size_t r = 0; r < shares_.size(); r++) {
    to_[r] = {0, static_cast<size_t>(rows * (share_.num_heads + share_.num_kv_heads)) * sizeof(float), 0, 1};
    from_[r] = {0, static_cast<size_t>(rows * (shares_[r].num_heads + shares_[r].num_kv_heads)) * sizeof(float), 0, 1};
  }
  group_.exchange(to_, from_);
  for (size_t r = shares_.size(); r-- > 0;) {
    const RankShare& s = shares_[r];
    const float* from = reinterpret_cast<const float*>(group_.shown(static_cast<int>(r)));
    const int64_t held = s.num_heads + s.num_kv_heads;
    const auto show = [&](int64_t to, int64_t heads_before, int64_t count) {
      device_.copy_runs(squares_ + to, static_cast<size_t>(all) * sizeof(float), from + heads_before,
                        static_cast<size_t>(held) * sizeof(float), static_cast<size_t>(count) * sizeof(float),
                        static_cast<size_t>(rows));
    };
    show(s.first_head, 0, s.num_heads);
    show(heads + s.first_kv_head, s.num_heads, s.num_kv_heads);
  }
}

}  // namespace trireme
