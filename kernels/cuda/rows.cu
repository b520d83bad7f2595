// Operations on rows: lookup, encoding, elementwise ones. Orders of sums are the reference's
// (kernels/cpu/reference.cpp).
#include "kernels/cuda/encode.cuh"
#include "kernels/gated.h"

namespace trireme::cuda {

namespace {

__global__ void embed_kernel(Embed a) {
  wait_in_line();
  const int64_t row = blockIdx.x, token = int64_t{a.tokens[row]} - a.first_token;
  if (token < 0 || token >= a.table.n) return;
  for (int64_t k = threadIdx.x; k < a.table.k; k += blockDim.x) a.out.row(row)[k] = value_at(a.table, token, k);
}

__global__ void gather_rows_kernel(GatherRows a) {
  wait_in_line();
  const int64_t row = blockIdx.x;
  const float* from = a.row(row);
  for (int64_t k = threadIdx.x; k < a.out.columns; k += blockDim.x) a.out.row(row)[k] = from[k];
}

__global__ void take_rows_kernel(TakeRows a) {
  wait_in_line();
  const int64_t row = blockIdx.x, taken = a.rows[row];
  if (taken < 0) return;
  for (int64_t k = threadIdx.x; k < a.out.columns; k += blockDim.x) a.out.row(row)[k] = a.x.row(taken)[k];
}

// A thread a column.
__global__ void encode_kernel(Encode a) {
  wait_in_line();
  const int64_t columns = encoded_columns(a.out), item = item_of(a.x.rows * columns);
  if (item < 0) return;  // whole warps
  const int64_t row = item / columns, k = item % columns;
  encode_column(a.out, row, k, k < a.x.columns ? a.x.row(row)[k] : 0.0f);
}

// A thread a column, in whole warps.
__global__ void gated_mul_kernel(GatedMul a) {
  wait_in_line();
  const int64_t columns = blocks_of(a.gate.columns, kWarp) * kWarp, item = item_of(a.gate.rows * columns);
  if (item < 0) return;
  const int64_t row = item / columns, k = item % columns;
  float value = 0;
  if (k < a.gate.columns) {
    value = gated(a.activation, a.gate.row(row)[k], a.up.row(row)[k]);
  }
  if (a.encoded.data)
    encode_column(a.encoded, row, k, value);
  else if (k < a.gate.columns)
    a.out.row(row)[k] = value;
}

__global__ void add_bias_kernel(AddBias a) {
  wait_in_line();
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  a.x.row(row)[k] = a.x.row(row)[k] + a.bias[k];
}

__global__ void add_scaled_kernel(AddScaled a) {
  wait_in_line();
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  a.x.row(row)[k] = a.x.row(row)[k] + a.y.row(row)[k] * a.scale;
}

__global__ void scale_kernel(Scale a) {
  wait_in_line();
  const int64_t item = item_of(a.x.rows * a.x.columns);
  if (item < 0) return;
  const int64_t row = item / a.x.columns, k = item % a.x.columns;
  const float x = a.x.row(row)[k] * a.scale;
  a.x.row(row)[k] = a.softcap > 0 ? soft_cap(x, a.softcap) : x;
}

void embed(const Launch& launch, const Embed& a) { enqueue(launch, a.out.rows, kThreads, embed_kernel, a); }

void gather_rows(const Launch& launch, const GatherRows& a) {
  enqueue(launch, a.out.rows, kThreads, gather_rows_kernel, a);
}

void take_rows(const Launch& launch, const TakeRows& a) { enqueue(launch, a.out.rows, kThreads, take_rows_kernel, a); }

void encode(const Launch& launch, const Encode& a) {
  if (a.out.form == ActivationForm::f32) return;
  enqueue(launch, blocks_of(a.x.rows * blocks_of(a.x.columns, kWarp) * kWarp, kThreads), kThreads, encode_kernel, a);
}

void add_bias(const Launch& launch, const AddBias& a) {
  enqueue(launch, blocks_of(a.x.rows * a.x.columns, kThreads), kThreads, add_bias_kernel, a);
}

void add_scaled(const Launch& launch, const AddScaled& a) {
  enqueue(launch, blocks_of(a.x.rows * a.x.columns, kThreads), kThreads, add_scaled_kernel, a);
}

void scale(const Launch& launch, const Scale& a) {
  enqueue(launch, blocks_of(a.x.rows * a.x.columns, kThreads), kThreads, scale_kernel, a);
}

}  // namespace

void gated_mul(const Launch& launch, const GatedMul& a) {
  enqueue(launch, blocks_of(a.gate.rows * blocks_of(a.gate.columns, kWarp) * kWarp, kThreads), kThreads,
          gated_mul_kernel, a);
}

void fill_rows(Kernels& kernels) {
  kernels.embed = embed;
  kernels.gather_rows = gather_rows;
  kernels.take_rows = take_rows;
  kernels.encode = encode;
  kernels.gated_mul = gated_mul;
  kernels.add_bias = add_bias;
  kernels.add_scaled = add_scaled;
  kernels.scale = scale;
}

}  // namespace trireme::cuda

namespace trireme {

void fill_cuda(Kernels& kernels, int architecture) {
  kernels.level = "cuda";
  kernels.inputs = {.f16 = true, .e4m3 = architecture >= 90};
  cuda::fill_rows(kernels);
  cuda::fill_norms(kernels);
  cuda::fill_matmul(kernels);
  cuda::fill_rope(kernels);
  cuda::fill_attention(kernels);
  cuda::fill_experts(kernels);
  cuda::fill_sampling(kernels);
}

}  // namespace trireme
