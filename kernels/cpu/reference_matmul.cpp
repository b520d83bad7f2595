#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "kernels/cpu/each_expert.h"
#include "kernels/cpu/fused_flushed.h"
#include "kernels/cpu/levels.h"
#include "kernels/gated.h"
#include "kernels/packed_layout.h"

namespace trireme {

namespace {

// The sum over columns [begin, end) of a unit for one row and one output, a chain of fused operations from +0.

// Of weights in FP32, or in FP16, whose numbers are all FP32's, too.
float unit_f32(const MatMul& a, const std::byte* row, int64_t n, int64_t begin, int64_t end) {
  const float* x = reinterpret_cast<const float*>(row);
  float sum = 0;
  for (int64_t k = begin; k < end; k++) sum = std::fma(x[k], value_at(a.w, n, k), sum);
  return sum;
}

// Both in FP16, whose products are exact in FP32.
float unit_f16(const MatMul& a, const std::byte* row, int64_t n, int64_t begin, int64_t end) {
  const F16* x = reinterpret_cast<const F16*>(row);
  float sum = 0;
  for (int64_t k = begin; k < end; k++) sum = std::fma(to_float(x[k]), to_float(f16_at(a.w, n, k)), sum);
  return sum;
}

// weight: the value of a column.
template <typename Weight>
float unit_pairs(const std::byte* row, int64_t begin, int64_t end, const Weight& weight) {
  const BF16* x = reinterpret_cast<const BF16*>(row);
  float sum = 0;
  for (int64_t k = begin; k < end; k += 2) {
    bool pair = k + 1 < end;  // else the odd column is padding: zeros, which still turn a sum of -0 into +0
    sum = fused_flushed(pair ? to_float(x[k + 1]) : 0, pair ? weight(k + 1) : 0, sum);
    sum = fused_flushed(to_float(x[k]), weight(k), sum);
  }
  return sum;
}

float unit_bf16(const MatMul& a, const std::byte* row, int64_t n, int64_t begin, int64_t end) {
  return unit_pairs(row, begin, end, [&](int64_t k) { return to_float(bf16_at(a.w, n, k)); });
}

// Codes are BF16 numbers; their scale, which no unit shares in part, waits for the unit's sum.
float unit_e4m3(const MatMul& a, const std::byte* row, int64_t n, int64_t begin, int64_t end) {
  const float sum = unit_pairs(row, begin, end, [&](int64_t k) { return to_float(e4m3_code(a.w, n, k)); });
  return sum * e4m3_scale(a.w, n, begin);
}

// With inputs in E4M3: a chain over each group, then one over the groups of a unit. Products of codes are exact.
float unit_e4m3_groups(const MatMul& a, const std::byte* row, int64_t n, int64_t begin, int64_t end) {
  float sum = 0;
  for (int64_t k = begin; k < end; k += kGroupColumns) {
    const E4M3Group& x = reinterpret_cast<const E4M3Group*>(row)[k / kGroupColumns];
    float dot = 0;
    for (int64_t i = k; i < std::min(k + kGroupColumns, end); i++)
      dot = dot + to_float(x.code[i % kGroupColumns]) * to_float(e4m3_code(a.w, n, i));
    sum = std::fma(dot, x.scale, sum);
  }
  return sum * e4m3_scale(a.w, n, begin);
}

// Inside the columns of one scale the sum of products is an exact integer, below 2^24: FP32 holds it.
float unit_int8(const MatMul& a, const std::byte* row, int64_t n, int64_t begin, int64_t end) {
  const int lane = static_cast<int>(n % kGroupPanel), zero = a.w.has_minimum ? 0 : a.w.zero;
  float sum = 0;
  end = (end + kGroupColumns - 1) / kGroupColumns * kGroupColumns;  // the last group is padded with zeros
  for (int64_t k = begin; k < end; k += a.w.scale_columns) {
    const Int8Group& x = reinterpret_cast<const Int8Group*>(row)[k / kGroupColumns];
    const std::byte* w = group_data(a.w, n, k);
    const int first = static_cast<int>(k % kGroupColumns);
    int dot = 0, x_sum = 0;
    for (int i = first; i < first + a.w.scale_columns; i++) {
      dot += (packed_code(a.w.form, w, lane, i) - zero) * x.code[i];
      x_sum += x.code[i];
    }
    const float scale = group_value(a.w, w, GroupValue::scale, lane, first);
    sum = std::fma(static_cast<float>(dot), scale * x.scale, sum);
    if (a.w.has_minimum)
      sum = std::fma(group_value(a.w, w, GroupValue::minimum, lane, first), x.scale * static_cast<float>(x_sum), sum);
  }
  return sum;
}

using UnitSum = float (*)(const MatMul&, const std::byte*, int64_t, int64_t, int64_t);

UnitSum unit_sum(PackedForm form) {
  switch (form) {
    case PackedForm::f32:
    case PackedForm::f16:
      return unit_f32;
    case PackedForm::f16_pairs:
      return unit_f16;
    case PackedForm::bf16:
    case PackedForm::bf16_rows:
      return unit_bf16;
    case PackedForm::e4m3:
      return unit_e4m3;
    case PackedForm::e4m3_groups:
      return unit_e4m3_groups;
    case PackedForm::q8:
    case PackedForm::q4:
      break;
  }
  return unit_int8;
}

constexpr int kMaxDepth = 32;  // the tree over any int of units is no deeper

// The sums of an output, on a stack: gives how many.
int roots_of(const MatMul& a, UnitSum sum_of, int64_t row, int64_t n, float (&stack)[kMaxDepth]) {
  const Contraction& c = *a.contraction;
  int depth = 0;
  int64_t begin = 0;
  for (size_t u = 0; u < c.columns.size(); u++) {
    stack[depth++] = sum_of(a, a.x.data + row * a.x.row_bytes, n, begin, begin + c.columns[u]);
    begin += c.columns[u];
    for (int pops = c.program.pops[u]; pops > 0; pops--, depth--)
      stack[depth - 2] = stack[depth - 2] + stack[depth - 1];
  }
  if (!a.bias.empty()) stack[0] = stack[0] + a.bias[static_cast<size_t>(n)];
  return depth;
}

void multiply(const Launch& launch, const MatMul& a) {
  Range mine = part_of(a.w.n, launch.part, launch.parts);
  for (int64_t row = 0; row < a.x.rows; row++)
    for (int64_t n = mine.begin; n < mine.end; n++) {
      float stack[kMaxDepth];
      const int roots = roots_of(a, unit_sum(a.w.form), row, n, stack);
      for (int root = 0; root < roots; root++) a.y[root * a.root_stride + row * a.y_stride + n] = stack[root];
    }
}

void multiply_gated(const Launch& launch, const GatedMatMul& a) {
  const UnitSum sum_of = unit_sum(a.product.w.form);
  Range groups = part_of(a.out.columns / kInputGroup, launch.part, launch.parts);
  for (int64_t row = 0; row < a.out.rows; row++)
    for (int64_t k = groups.begin * kInputGroup; k < groups.end * kInputGroup; k += kInputGroup) {
      float values[kInputGroup], gate[kMaxDepth], up[kMaxDepth];
      for (int64_t i = 0; i < kInputGroup; i++) {
        roots_of(a.product, sum_of, row, k + i, gate);
        roots_of(a.product, sum_of, row, a.out.columns + k + i, up);
        values[i] = gated(a.activation, gate[0], up[0]);
      }
      if (a.encoded.data)
        encode_columns(values, a.encoded, row, k, kInputGroup);
      else
        std::copy_n(values, kInputGroup, a.out.row(row) + k);
    }
}

}  // namespace

void reference_matmul(const Launch& launch, const MatMul& a) { each_expert(launch, a, multiply); }

void reference_gated_matmul(const Launch& launch, const GatedMatMul& a) { each_expert(launch, a, multiply_gated); }

}  // namespace trireme
