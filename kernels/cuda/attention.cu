// RoPE with the append to the cache, and attention over its pages: a warp a query, a lane a position of a block, then a
// lane some values of the output. Orders are the reference's (kernels/cpu/reference_attention.cpp).
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

namespace {

__device__ void write_page(DType type, std::byte* page, int64_t index, float value) {
  if (type == DType::bf16)
    reinterpret_cast<BF16*>(page)[index] = to_bf16(value);
  else
    reinterpret_cast<float*>(page)[index] = value;
}

__device__ float read_page(DType type, const std::byte* page, int64_t index) {
  return type == DType::bf16 ? to_float(reinterpret_cast<const BF16*>(page)[index])
                             : reinterpret_cast<const float*>(page)[index];
}

// Value d of a head, turned by the angles of a row of the table.
__device__ float rotated(const RopeTable& rope, int64_t angles, const float* x, int d) {
  const int half = rope.rotary / 2, i = d < half ? d : d - half;
  if (d >= rope.rotary) return x[d];
  const float cosine = rope.cosine[angles * half + i], sine = rope.sine[angles * half + i];
  const float a = x[i], b = x[i + half];
  return d < half ? std::fma(a, cosine, -(b * sine)) : std::fma(b, cosine, a * sine);
}

// A block a row. Both values of a pair of q are the same thread's, as q is turned in place.
__global__ void rope_append_kernel(RopeAppend a) {
  const int64_t row = blockIdx.x, angles = a.angles[row], slot = a.slots[row], place = slot % kBlockTokens;
  const int head_dim = a.pages.head_dim, half = a.rope.rotary / 2, threads = static_cast<int>(blockDim.x);
  for (int64_t item = threadIdx.x; item < a.q.columns / head_dim * half; item += threads) {
    float* q = a.q.row(row) + item / half * head_dim;
    const int i = static_cast<int>(item % half);
    const float first = rotated(a.rope, angles, q, i), second = rotated(a.rope, angles, q, i + half);
    q[i] = first;
    q[i + half] = second;
  }
  for (int item = static_cast<int>(threadIdx.x); item < a.pages.kv_heads * head_dim; item += threads) {
    const int head = item / head_dim, d = item % head_dim;
    const int64_t tile = (slot / kBlockTokens * a.pages.kv_heads + head) * head_dim * kBlockTokens;
    write_page(a.pages.type, a.pages.k, tile + d * kBlockTokens + place,
               rotated(a.rope, angles, a.k.row(row) + head * head_dim, d));
    write_page(a.pages.type, a.pages.v, tile + place * head_dim + d, a.v.row(row)[item]);
  }
}

// What a block of positions, or a run of blocks, says about one query: the largest score and the sum of exp(score -
// largest) on every lane; the values summed with these weights, lane + 32 c of them.
template <int kValues>
struct Softmax {
  float largest, sum, out[kValues];
};

// The block's positions [begin, end); the others are never read.
template <int kValues>
__device__ Softmax<kValues> attend_block(const Attention& a, const float* q, int64_t tile, int begin, int end) {
  const KvPages& pages = a.pages;
  const bool seen = lane() >= begin && lane() < end;
  float p = -INFINITY;
  if (seen) {
    float dot = 0;
    for (int d = 0; d < pages.head_dim; d++)
      dot = std::fma(q[d], read_page(pages.type, pages.k, tile + d * kBlockTokens + lane()), dot);
    p = dot * a.scale;
    if (a.softcap > 0) p = soft_cap(p, a.softcap);
  }
  Softmax<kValues> block{};
  block.largest = largest_of(p > -INFINITY ? p : -INFINITY);  // a NaN is nobody's largest
  p = seen ? exp_float(p - block.largest) : 0.0f;
  block.sum = sum_lanes(p, kBlockTokens);
  for (int j = begin; j < end; j++) {
    const float weight = __shfl_sync(kAllLanes, p, j);
    for (int c = 0; c < kValues; c++)
      if (const int d = c * kWarp + lane(); d < pages.head_dim)
        block.out[c] = std::fma(weight, read_page(pages.type, pages.v, tile + j * pages.head_dim + d), block.out[c]);
  }
  return block;
}

template <int kValues>
__device__ void join(Softmax<kValues>& all, const Softmax<kValues>& block) {
  const float largest = block.largest > all.largest ? block.largest : all.largest;
  const float old_factor = exp_float(all.largest - largest), new_factor = exp_float(block.largest - largest);
  all.sum = std::fma(all.sum, old_factor, block.sum * new_factor);
  for (int c = 0; c < kValues; c++) all.out[c] = std::fma(all.out[c], old_factor, block.out[c] * new_factor);
  all.largest = largest;
}

// The last span that does not begin behind the row: first of [begin, end) that does, less one.
__device__ const AttentionSpan& span_of(const Attention& a, int64_t row) {
  size_t begin = 1, end = a.spans.size();
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    if (a.spans[middle].first_row <= row)
      begin = middle + 1;
    else
      end = middle;
  }
  return a.spans[begin - 1];
}

template <int kValues>
__global__ void attention_kernel(Attention a) {
  const int64_t heads = static_cast<int64_t>(a.kv_head_of.size()), item = warp_item();
  if (item >= a.q.rows * heads) return;
  const int64_t row = item / heads, head = item % heads;
  const AttentionSpan& span = span_of(a, row);
  const int head_dim = a.pages.head_dim, kv_head = a.kv_head_of[head];
  const int64_t positions = int64_t{span.first_position} + row - span.first_row + 1;
  const int64_t first = a.window > 0 ? max(int64_t{0}, positions - a.window) : 0, first_block = first / kBlockTokens;
  const float* q = a.q.row(row) + head * head_dim;
  Softmax<kValues> all{};
  for (int64_t b = first_block; b * kBlockTokens < positions; b++) {
    const int64_t tile = (int64_t{span.block_table[b]} * a.pages.kv_heads + kv_head) * head_dim * kBlockTokens;
    const int begin = static_cast<int>(max(int64_t{0}, first - b * kBlockTokens));
    const int end = static_cast<int>(min(int64_t{kBlockTokens}, positions - b * kBlockTokens));
    const Softmax<kValues> block = attend_block<kValues>(a, q, tile, begin, end);
    if (b == first_block)
      all = block;
    else
      join(all, block);
  }
  float* out = a.out.row(row) + head * head_dim;
  for (int c = 0; c < kValues; c++)
    if (const int d = c * kWarp + lane(); d < head_dim) out[d] = all.out[c] / all.sum;
}

void rope_append(const Launch& launch, const RopeAppend& a) {
  enqueue(launch, a.q.rows, kThreads, rope_append_kernel, a);
}

template <int kValues>
void enqueue_attention(const Launch& launch, const Attention& a) {
  const int64_t heads = static_cast<int64_t>(a.kv_head_of.size());
  enqueue(launch, blocks_of(a.q.rows * heads, kThreads / kWarp), kThreads, attention_kernel<kValues>, a);
}

void attention(const Launch& launch, const Attention& a) {
  const int64_t values = blocks_of(a.pages.head_dim, kWarp);
  must(values <= 16, "a head has at most 512 values");
  if (values <= 2) return enqueue_attention<2>(launch, a);
  if (values <= 4) return enqueue_attention<4>(launch, a);
  if (values <= 8) return enqueue_attention<8>(launch, a);
  enqueue_attention<16>(launch, a);
}

}  // namespace

void fill_attention(Kernels& kernels) {
  kernels.rope_append = rope_append;
  kernels.attention = attention;
}

}  // namespace trireme::cuda
