#pragma once

// What becomes of a product's sums where they are: a bias is added, gate and up become one (GatedMatMul).
#include "kernels/cuda/encode.cuh"
#include "kernels/cuda/step.cuh"
#include "kernels/gated.h"

namespace trireme::cuda {

// GatedMatMul without its product.
struct Gate {
  int64_t panels = 0;  // of 32 outputs that gate has, and up behind them; 0: nothing gates
  Activation activation = Activation::silu;
  MatrixView<float> out;
  Activations encoded = {};
};
inline Gate gate_of(const GatedMatMul& a) { return {a.out.columns / kPanel, a.activation, a.out, a.encoded}; }

// The p-th panel of a block that has `panels`: where one half of a product gates the other, half of them are gate's,
// then come those of up for the same columns. Past the last one: none of the product's.
__device__ inline int64_t panel_of(const Gate& gate, int64_t block, int panels, int p) {
  if (gate.panels == 0) return block * panels + p;
  const int half = panels / 2;
  const int64_t of_gate = block * half + p % half;
  return of_gate < gate.panels && p < half ? of_gate : gate.panels + min(of_gate, gate.panels);
}

__device__ inline float with_bias(const MatMul& a, int64_t n, float sum) {
  return a.bias.empty() ? sum : sum + a.bias[static_cast<size_t>(n)];
}

// A warp's 32 columns of a row, from a multiple of 32 on.
__device__ inline void put_gated(const MatMul& a, const Gate& gate, int64_t row, int64_t column, float gate_sum,
                                 float up_sum) {
  const float value =
      gated(gate.activation, with_bias(a, column, gate_sum), with_bias(a, gate.panels * kPanel + column, up_sum));
  if (gate.encoded.data)
    encode_column(gate.encoded, row, column, value);
  else
    gate.out.row(row)[column] = value;
}

}  // namespace trireme::cuda
