#pragma once

#include <type_traits>

#include "kernels/cuda/expert_rows.cuh"
#include "kernels/cuda/outputs.cuh"

namespace trireme::cuda {

// Products with BF16, FP16, E4M3 or codes on tensor cores. All have the same bits. Where a gate has panels, y is room
// for sums.

// For few rows: weights stream through, a warp a unit. False: this tree needs more shared memory than a block has.
bool stream_matmul(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units);

// For many rows: tiles of outputs and rows, a block walks all units of its tile, or a node's. False: likewise, or the
// tree is too deep.
bool tile_matmul(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units);
// Of BF16 and FP16 by four warps together (wgmma), which has the same bits where the GPU adds alike.
bool warpgroup_matmul(const Launch& launch, const MatMul& a, const Gate& gate, const Units& units);

// f() of the form as a constant, of those that tensor cores multiply.
template <PackedForm... kForms, typename F>
bool by_form_of(PackedForm form, const F& f) {
  return ((form == kForms && f(std::integral_constant<PackedForm, kForms>())) || ...);
}
template <typename F>
bool by_form(PackedForm form, const F& f) {
  using enum PackedForm;
  return by_form_of<bf16, f16_pairs, e4m3, e4m3_groups, q8, q4>(form, f);
}

}  // namespace trireme::cuda
