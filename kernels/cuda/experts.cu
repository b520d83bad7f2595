// Mixture of experts: the choice of every row, and the sum over experts along their tree
// (kernels/cpu/reference_experts.cpp).
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

namespace {

// Experts come by ascending id, so that one that is no more probable than another stays behind it.
__device__ void insert(int32_t expert, float probability, int held, int top_k, int32_t* experts, float* weights) {
  int at = held;
  if (at == top_k && !(probability > weights[--at])) return;
  for (; at > 0 && probability > weights[at - 1]; at--) {
    experts[at] = experts[at - 1];
    weights[at] = weights[at - 1];
  }
  experts[at] = expert;
  weights[at] = probability;
}

// A thread a row: experts are few.
__global__ void route_kernel(Route a) {
  wait_in_line();
  const int64_t row = item_of(a.logits.rows);
  if (row < 0) return;
  const float* x = a.logits.row(row);
  const int count = static_cast<int>(a.logits.columns);
  int32_t* experts = a.experts.data() + row * a.top_k;
  float* weights = a.weights.data() + row * a.top_k;
  float top = -INFINITY, lanes[16] = {};
  for (int e = 0; e < count; e++) top = std::fmax(top, x[e]);
  for (int e = 0; e < count; e++) lanes[e % 16] += exp_float(x[e] - top);
  for (int half = 8; half >= 1; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] + lanes[i + half];
  const float sum = lanes[0], first = exp_float(x[0] - top) / sum;
  if (std::isnan(first)) {  // a NaN or an infinity among the logits makes all NaN: the row ends as an error
    for (int i = 0; i < a.top_k; i++) {
      experts[i] = i;
      weights[i] = first;
    }
    return;
  }
  for (int e = 0; e < count; e++) insert(e, exp_float(x[e] - top) / sum, min(e, a.top_k), a.top_k, experts, weights);
  if (!a.normalize) return;
  float chosen = 0;
  for (int i = 0; i < a.top_k; i++) chosen = chosen + weights[i];
  for (int i = 0; i < a.top_k; i++) weights[i] = weights[i] / chosen;
}

__global__ void expert_combine_kernel(ExpertCombine a, Tree tree) {
  wait_in_line();
  const int64_t item = item_of(a.rows * a.y.columns);
  if (item < 0) return;
  const int64_t row = item / a.y.columns, k = item % a.y.columns;
  float stack[kTreeDepth];
  int depth = 0;
  for (int expert = 0; expert < tree.nodes; expert++) {
    const int64_t at = row * tree.nodes + expert;
    const float leaf = a.assignment[at] < 0 ? 0.0f : a.weight[at] * a.y.row(a.assignment[at])[k];
    push(stack, depth, leaf, tree.pops[expert]);
  }
  for (int root = 0; root < depth; root++) a.out[root * a.root_stride + row * a.y.columns + k] = stack[root];
}

void route(const Launch& launch, const Route& a) {
  enqueue(launch, blocks_of(a.logits.rows, kThreads), kThreads, route_kernel, a);
}

void expert_combine(const Launch& launch, const ExpertCombine& a) {
  enqueue(launch, blocks_of(a.rows * a.y.columns, kThreads), kThreads, expert_combine_kernel, a, tree_of(*a.program));
}

}  // namespace

void fill_experts(Kernels& kernels) {
  kernels.route = route;
  kernels.expert_combine = expert_combine;
}

}  // namespace trireme::cuda
