// Mixture of experts: the choice of every row, their places by expert, and the sum over experts along their tree
// (kernels/cpu/reference_experts.cpp).
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

namespace {

// The most probable expert of those not taken, which are negative; ties by lower id. On every lane.
struct Best {
  float p = -0.5f;
  int expert = 0x7fffffff;

  __device__ void meet(float other, int e) {
    if (other > p || (other == p && e < expert)) p = other, expert = e;
  }
};
__device__ Best best_of(const float* p, int count) {
  Best best;
  for (int e = lane(); e < count; e += kWarp) best.meet(p[e], e);
  for (int step = kWarp / 2; step >= 1; step /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best.p, step);
    best.meet(other, __shfl_xor_sync(kAllLanes, best.expert, step));
  }
  return best;
}

// A warp a row, whose probabilities are in shared memory.
__global__ void route_kernel(Route a) {
  wait_in_line();
  const int64_t row = blockIdx.x;
  const float* x = a.logits.row(row);
  const int count = static_cast<int>(a.logits.columns);
  float* p = reinterpret_cast<float*>(block_memory());  // [experts]
  int32_t* experts = a.experts.data() + row * a.top_k;
  float* weights = a.weights.data() + row * a.top_k;
  float top = -INFINITY, sum = 0;
  for (int e = lane(); e < count; e += kWarp) top = std::fmax(top, x[e]);
  for (int step = kWarp / 2; step >= 1; step /= 2) top = std::fmax(top, __shfl_xor_sync(kAllLanes, top, step));
  if (lane() < 16)
    for (int e = lane(); e < count; e += 16) sum += exp_float(x[e] - top);
  sum = sum_lanes(sum, 16);
  for (int e = lane(); e < count; e += kWarp) p[e] = exp_float(x[e] - top) / sum;
  __syncwarp();
  if (const float first = p[0];
      std::isnan(first)) {  // a NaN or an infinity among the logits makes all NaN: the row ends as an error
    for (int i = lane(); i < a.top_k; i += kWarp) experts[i] = i, weights[i] = first;
    return;
  }
  float chosen = 0;
  for (int i = 0; i < a.top_k; i++) {
    const Best best = best_of(p, count);
    chosen = chosen + best.p;
    __syncwarp();
    if (lane() == 0) experts[i] = best.expert, weights[i] = best.p, p[best.expert] = -1;
    __syncwarp();
  }
  if (!a.normalize) return;
  for (int i = lane(); i < a.top_k; i += kWarp) weights[i] = weights[i] / chosen;
}

// A warp an expert, for which a lane looks at a row at a time.
__global__ void place_by_expert_kernel(PlaceByExpert a) {
  wait_in_line();
  const int64_t held = static_cast<int64_t>(a.ends.size()), mine = warp_item(), choices = a.rows() * a.top_k;
  if (mine >= held) return;
  const int expert = a.first_expert + static_cast<int>(mine);
  int before = 0;  // places of experts before this one
  for (int64_t i = lane(); i < choices; i += kWarp) {
    before += a.experts[i] >= a.first_expert && a.experts[i] < expert;
    if (mine == 0 && (a.experts[i] < a.first_expert || a.experts[i] >= a.first_expert + held)) a.place_of[i] = -1;
  }
  int next = sum_of(before);
  for (int64_t first = 0; first < a.rows(); first += kWarp) {
    const int64_t row = first + lane();
    int64_t choice = -1;
    for (int64_t i = row * a.top_k; i < min(choices, (row + 1) * a.top_k); i++)
      if (a.experts[i] == expert) choice = i;
    const unsigned chose = __ballot_sync(kAllLanes, choice >= 0);
    const int place = next + __popc(chose & ((1u << lane()) - 1));
    next += __popc(chose);
    if (choice < 0) continue;
    a.row_of[place] = static_cast<int32_t>(row);
    a.place_of[choice] = place;
  }
  if (lane() == 0) a.ends[mine] = next;
  if (mine + 1 == held)
    for (int64_t i = next + lane(); i < static_cast<int64_t>(a.row_of.size()); i += kWarp) a.row_of[i] = -1;
}

// The node of the tree where two experts meet: its depth; -1 where no rank has the whole of it.
__device__ int depth_where_met(const ExpertCombine& a, int left, int right) {
  int depth = 0, first = 0, end = a.total;
  for (;; depth++) {
    const int middle = first + (end - first + 1) / 2;
    if (left < middle && right >= middle) break;
    (right < middle ? end : first) = middle;
  }
  return first >= a.held.begin && end <= a.held.end ? depth : -1;
}

// What is left of a row's tree over the experts without the zeros, which only turn a sum of -0 into +0: a block's, in
// shared memory.
struct Leaves {
  int *experts, *places;  // [top_k] of those that have a place, by ascending id
  float* weights;
  int *meets, *pops;  // where a leaf and the next one meet; sums that are joined after it
};

__device__ Leaves leaves_at(std::byte* memory, int top_k) {
  int* at = reinterpret_cast<int*>(memory);
  return {at, at + top_k, reinterpret_cast<float*>(at + 2 * top_k), at + 3 * top_k, at + 4 * top_k};
}

// How many there are.
__device__ int collect_leaves(const ExpertCombine& a, int64_t row, const Leaves& leaves) {
  const int32_t *experts = a.experts.data() + row * a.top_k, *places = a.place_of.data() + row * a.top_k;
  int count = 0;
  for (int i = 0; i < a.top_k; i++) count += places[i] >= 0;
  for (int i = static_cast<int>(threadIdx.x); i < a.top_k; i += kThreads) {
    if (places[i] < 0) continue;
    int rank = 0;
    for (int j = 0; j < a.top_k; j++) rank += places[j] >= 0 && experts[j] < experts[i];
    leaves.experts[rank] = experts[i];
    leaves.places[rank] = places[i];
    leaves.weights[rank] = a.weights[row * a.top_k + i];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
    leaves.meets[i] = i + 1 < count ? depth_where_met(a, leaves.experts[i], leaves.experts[i + 1]) : -1;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    int pops = 0, above = 0x7fffffff;  // the highest node passed on the way back
    for (int j = i - 1; j >= 0 && leaves.meets[j] > leaves.meets[i]; j--) {
      pops += leaves.meets[j] < above;
      above = min(above, leaves.meets[j]);
    }
    leaves.pops[i] = pops;
  }
  __syncthreads();
  return count;
}

// The ends of the roots, as expert ids.
struct RootEnds {
  int at[kTreeDepth];
};

// A block: a row; a thread: a column.
__global__ void expert_combine_kernel(ExpertCombine a, RootEnds ends, int roots, int64_t column_blocks) {
  wait_in_line();
  const int64_t row = blockIdx.x / column_blocks, k = blockIdx.x % column_blocks * kThreads + threadIdx.x;
  const Leaves leaves = leaves_at(block_memory(), a.top_k);
  const int count = collect_leaves(a, row, leaves);
  if (k >= a.y.columns) return;
  float stack[kTreeDepth];
  int leaf = 0;
  for (int root = 0; root < roots; root++) {
    const int before = leaf, first = root == 0 ? a.held.begin : ends.at[root - 1];
    int depth = 0;
    for (; leaf < count && leaves.experts[leaf] < ends.at[root]; leaf++)
      push(stack, depth, leaves.weights[leaf] * a.y.row(leaves.places[leaf])[k], leaves.pops[leaf]);
    const float sum = depth > 0 ? stack[0] : 0.0f;
    const bool has_zero = leaf - before < ends.at[root] - first;
    a.out[root * a.root_stride + row * a.y.columns + k] = has_zero ? sum + 0.0f : sum;
  }
}

void route(const Launch& launch, const Route& a) {
  enqueue_shared(launch, a.logits.rows, kWarp, a.logits.columns * int64_t{sizeof(float)}, route_kernel, a);
}

void place_by_expert(const Launch& launch, const PlaceByExpert& a) {
  enqueue(launch, blocks_of(static_cast<int64_t>(a.ends.size()), kThreads / kWarp), kThreads, place_by_expert_kernel,
          a);
}

void expert_combine(const Launch& launch, const ExpertCombine& a) {
  RootEnds ends;
  int roots = 0;  // so far, of a tree that grows
  for (int e = a.held.begin; e < a.held.end; e++) {
    must(roots < kTreeDepth, "a tree's open sums fit");
    ends.at[roots++] = e + 1;
    for (int pops = a.program->pops[static_cast<size_t>(e - a.held.begin)]; pops > 0; pops--, roots--)
      ends.at[roots - 2] = e + 1;
  }
  if (roots == 0) return;
  const int64_t column_blocks = blocks_of(a.y.columns, kThreads);
  enqueue_shared(launch, a.rows * column_blocks, kThreads, a.top_k * 5 * int64_t{sizeof(int)}, expert_combine_kernel, a,
                 ends, roots, column_blocks);
}

}  // namespace

void fill_experts(Kernels& kernels) {
  kernels.route = route;
  kernels.place_by_expert = place_by_expert;
  kernels.expert_combine = expert_combine;
}

}  // namespace trireme::cuda
