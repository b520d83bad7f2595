#pragma once

#include "kernels/kernels.h"

namespace trireme {

// The rungs of the ladder (kernels/select.h): each fills the operations it has and leaves the others as they are. All
// of them give the reference's bits; a rung is only faster.
void fill_reference(Kernels& kernels);
void fill_avx2(Kernels& kernels);
void fill_avx512(Kernels& kernels);

// The reference's operations that come in files of their own, also for shapes that the inner loops do not take.
void reference_matmul(const Launch& launch, const MatMul& a);
void reference_gated_matmul(const Launch& launch, const GatedMatMul& a);
void reference_rope_append(const Launch& launch, const RopeAppend& a);
void reference_attention(const Launch& launch, const Attention& a);
void reference_route(const Launch& launch, const Route& a);
void reference_place_by_expert(const Launch& launch, const PlaceByExpert& a);
void reference_expert_combine(const Launch& launch, const ExpertCombine& a);

// The choice of Route for one row; p: [experts] their probabilities, or all NaN.
void choose_experts(const Route& a, int64_t row, const float* p);

// Columns [first, first + count) of a row, of which x has the values; first is a multiple of kInputGroup, and so is
// count, unless they are the last.
void encode_columns(const float* x, const Activations& out, int64_t row, int64_t first, int64_t count);

// Columns [0, columns) of a row as groups of E4M3, the last one padded with zeros.
void encode_e4m3_row(const float* x, int64_t columns, E4M3Group* out);
void encode_f16_row(const float* x, int64_t columns, int64_t padded, F16* out);  // zeros from `columns` on

// 1 / sqrt(mean of squares + epsilon) of a row.
float factor_of_squares(const NormBySquares& a, int64_t row);

// Rounds k and v [head_dim] of one position to the cache's type and writes them at its slot.
void write_slot(const KvPages& pages, int head, int64_t slot, const float* k, const float* v);

// ExpSum::logit of a unit that has `columns` tokens from `first` of those held.
inline float logit_of(const ExpSumRow& row, const ExpSums& a, int32_t first, int32_t columns) {
  const int32_t at = row.token - a.first_token - first;
  return at >= 0 && at < columns ? row.logits[first + at] : 0;
}

// 16 sums, or 32, added in the one order of all levels: halves, pairwise. Destroys `lanes`.
inline float sum_lanes(float* lanes, int count) {
  for (int half = count / 2; half >= 1; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] + lanes[i + half];
  return lanes[0];
}

}  // namespace trireme
