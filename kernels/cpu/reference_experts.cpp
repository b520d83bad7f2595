#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "kernels/cpu/levels.h"
#include "kernels/elementary.h"

namespace trireme {

namespace {

// Experts come by ascending id, so that one that is no more probable than another stays behind it.
void insert(int32_t expert, float probability, int held, std::span<int32_t> experts, std::span<float> weights) {
  size_t at = static_cast<size_t>(held);
  if (at == experts.size() && !(probability > weights[--at])) return;
  for (; at > 0 && probability > weights[at - 1]; at--) {
    experts[at] = experts[at - 1];
    weights[at] = weights[at - 1];
  }
  experts[at] = expert;
  weights[at] = probability;
}

void normalize(std::span<float> weights) {
  float sum = 0;
  for (float weight : weights) sum = sum + weight;
  for (float& weight : weights) weight = weight / sum;
}

// The choice for one row; p(expert): exp(logit - max) / sum.
template <typename P>
void choose(const Route& a, int64_t row, const P& p) {
  const size_t top_k = static_cast<size_t>(a.top_k), first = static_cast<size_t>(row) * top_k;
  std::span<int32_t> experts = a.experts.subspan(first, top_k);
  std::span<float> weights = a.weights.subspan(first, top_k);
  if (std::isnan(p(0))) {  // a NaN or an infinity among the logits makes all NaN: the row ends as an error
    for (size_t i = 0; i < top_k; i++) experts[i] = static_cast<int32_t>(i);
    std::fill(weights.begin(), weights.end(), p(0));
    return;
  }
  for (int e = 0; e < static_cast<int>(a.logits.columns); e++) insert(e, p(e), std::min(e, a.top_k), experts, weights);
  if (a.normalize) normalize(weights);
}

// Added a run of columns at a time, with the stack of sums on this thread's stack.
constexpr int64_t kExpertColumns = 64;
constexpr int kExpertDepth = 64;  // roots of a rank and the way down to a leaf, for any int of experts

void combine_run(const ExpertCombine& a, int64_t row, int64_t column, int64_t count) {
  float stack[kExpertDepth][kExpertColumns];
  const int64_t held = static_cast<int64_t>(a.program->pops.size());
  int depth = 0;
  for (int64_t expert = 0; expert < held; expert++) {
    const auto at = static_cast<size_t>(row * held + expert);
    for (int64_t k = 0; k < count; k++)
      stack[depth][k] = a.assignment[at] < 0 ? 0.0f : a.weight[at] * a.y.row(a.assignment[at])[column + k];
    depth++;
    for (int pops = a.program->pops[static_cast<size_t>(expert)]; pops > 0; pops--, depth--)
      for (int64_t k = 0; k < count; k++) stack[depth - 2][k] = stack[depth - 2][k] + stack[depth - 1][k];
  }
  for (int root = 0; root < a.program->roots; root++)
    std::copy_n(stack[root], count, a.out + root * a.root_stride + row * a.y.columns + column);
}

}  // namespace

void choose_experts(const Route& a, int64_t row, const float* p) {
  choose(a, row, [p](int expert) { return p[expert]; });
}

void reference_route(const Launch& launch, const Route& a) {
  Range rows = part_of(a.logits.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) {
    const float* x = a.logits.row(i);
    float top = -std::numeric_limits<float>::infinity(), lanes[16] = {};
    for (int64_t e = 0; e < a.logits.columns; e++) top = std::fmax(top, x[e]);
    for (int64_t e = 0; e < a.logits.columns; e++) lanes[e % 16] += exp_float(x[e] - top);
    float sum = sum_lanes(lanes, 16);
    choose(a, i, [x, top, sum](int expert) { return exp_float(x[expert] - top) / sum; });
  }
}

void reference_expert_combine(const Launch& launch, const ExpertCombine& a) {
  int64_t runs = (a.y.columns + kExpertColumns - 1) / kExpertColumns;
  Range mine = part_of(a.rows * runs, launch.part, launch.parts);
  for (int64_t i = mine.begin; i < mine.end; i++) {
    int64_t column = i % runs * kExpertColumns;
    combine_run(a, i / runs, column, std::min(kExpertColumns, a.y.columns - column));
  }
}

}  // namespace trireme
