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
    const int64_t tile = (slot / kBlockTokens * a.pages.block_heads + head) * head_dim * kBlockTokens;
    write_page(a.pages.type, a.pages.k, tile + d * kBlockTokens + place,
               rotated(a.rope, angles, a.k.row(row) + head * head_dim, d));
    write_page(a.pages.type, a.pages.v, tile + place * head_dim + d, a.v.row(row)[item]);
  }
}

void rope_append(const Launch& launch, const RopeAppend& a) {
  enqueue(launch, a.q.rows, kThreads, rope_append_kernel, a);
}

}  // namespace

void fill_rope(Kernels& kernels) { kernels.rope_append = rope_append; }

}  // namespace trireme::cuda
