#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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

// The row's choice of an expert, if it has a place; -1: none.
int64_t choice_of(const ExpertCombine& a, int64_t row, int expert) {
  for (int64_t i = row * a.top_k; i < (row + 1) * a.top_k; i++)
    if (a.experts[static_cast<size_t>(i)] == expert && a.place_of[static_cast<size_t>(i)] >= 0) return i;
  return -1;
}

void combine_run(const ExpertCombine& a, int64_t row, int64_t column, int64_t count) {
  float stack[kExpertDepth][kExpertColumns];
  int depth = 0;
  for (int expert = a.held.begin; expert < a.held.end; expert++) {
    const int64_t choice = choice_of(a, row, expert);
    const auto at = static_cast<size_t>(choice);
    for (int64_t k = 0; k < count; k++)
      stack[depth][k] = choice < 0 ? 0.0f : a.weights[at] * a.y.row(a.place_of[at])[column + k];
    depth++;
    for (int pops = a.program->pops[static_cast<size_t>(expert - a.held.begin)]; pops > 0; pops--, depth--)
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

// Counts first, so that every expert's rows stand together.
void reference_place_by_expert(const Launch& launch, const PlaceByExpert& a) {
  if (launch.part != 0) return;
  const int64_t held = std::ssize(a.ends);
  const auto held_of = [&a, held](size_t choice) {
    const int64_t e = int64_t{a.experts[choice]} - a.first_expert;
    return e >= 0 && e < held ? e : -1;
  };
  std::fill(a.ends.begin(), a.ends.end(), 0);
  for (size_t i = 0; i < a.experts.size(); i++)
    if (const int64_t e = held_of(i); e >= 0) a.ends[static_cast<size_t>(e)]++;
  std::exclusive_scan(a.ends.begin(), a.ends.end(), a.ends.begin(), 0);  // then each end grows to its own
  std::fill(a.row_of.begin(), a.row_of.end(), -1);
  for (size_t i = 0; i < a.experts.size(); i++) {
    const int64_t e = held_of(i);
    a.place_of[i] = e < 0 ? -1 : a.ends[static_cast<size_t>(e)]++;
    if (e >= 0) a.row_of[static_cast<size_t>(a.place_of[i])] = static_cast<int32_t>(i) / a.top_k;
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
