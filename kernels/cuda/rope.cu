// RoPE with the append to the cache. The order is the reference's (kernels/cpu/reference_attention.cpp).
#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

namespace {

__device__ void write_page(DType type, std::byte* page, int64_t index, float value) {
  if (type == DType::bf16)
    reinterpret_cast<BF16*>(page)[index] = to_bf16(value);
  else
    reinterpret_cast<float*>(page)[index] = value;
}

// Values i and i + rotary / 2 of a head, turned by the angles of a row of the table.
struct Pair {
  float first, second;
};
__device__ Pair turned(const RopeTable& rope, int64_t angles, const float* x, int i) {
  const int half = rope.rotary / 2;
  const float cosine = rope.cosine[angles * half + i], sine = rope.sine[angles * half + i];
  const float a = x[i], b = x[i + half];
  return {std::fma(a, cosine, -(b * sine)), std::fma(b, cosine, a * sine)};
}

__device__ void turn_q(const RopeAppend& a, int64_t row, int item) {
  const int half = a.rope.rotary / 2, i = item % half;
  float* q = a.q.row(row) + item / half * a.pages.head_dim;
  const Pair pair = turned(a.rope, a.angles[row], q, i);
  q[i] = pair.first;
  q[i + half] = pair.second;
}

__device__ void append(const RopeAppend& a, int64_t row, int item) {
  const int head_dim = a.pages.head_dim, half = a.rope.rotary / 2, head = item / head_dim, d = item % head_dim;
  const int64_t slot = a.slots[row], place = slot % kBlockTokens;
  const int64_t tile = (slot / kBlockTokens * a.pages.block_heads + head) * head_dim * kBlockTokens;
  const float* k = a.k.row(row) + head * head_dim;
  const float v = a.v.row(row)[item];
  float key;
  if (d < a.rope.rotary) {
    const Pair pair = turned(a.rope, a.angles[row], k, d % half);
    key = d < half ? pair.first : pair.second;
  } else {
    key = k[d];
  }
  write_page(a.pages.type, a.pages.k, tile + d * kBlockTokens + place, key);
  write_page(a.pages.type, a.pages.v, tile + place * head_dim + d, v);
}

// A thread a pair of q, which is turned in place, or a value of k and the same of v: all wait for memory at once.
__global__ void rope_append_kernel(RopeAppend a, int pairs, int values) {
  wait_in_line();
  const int blocks = static_cast<int>(blocks_of(pairs + values, kThreads));
  const int block = static_cast<int>(blockIdx.x), row = block / blocks;
  const int item = block % blocks * kThreads + static_cast<int>(threadIdx.x);
  if (item < pairs)
    turn_q(a, row, item);
  else if (item < pairs + values)
    append(a, row, item - pairs);
}

void rope_append(const Launch& launch, const RopeAppend& a) {
  const int head_dim = a.pages.head_dim, values = a.pages.kv_heads * head_dim;
  const int pairs = static_cast<int>(a.q.columns) / head_dim * (a.rope.rotary / 2);
  enqueue(launch, a.q.rows * blocks_of(pairs + values, kThreads), kThreads, rope_append_kernel, a, pairs, values);
}

}  // namespace

void fill_rope(Kernels& kernels) { kernels.rope_append = rope_append; }

}  // namespace trireme::cuda
