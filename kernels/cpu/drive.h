#pragma once

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/cpu/best_of_row.h"
#include "kernels/cpu/drive_attention.h"
#include "kernels/cpu/drive_matmul.h"
#include "kernels/cpu/expert_leaves.h"

namespace trireme {

// Cuts operations into the pieces that inner loops take, for a thread of the team. Compiled for every CPU; kLoops are
// those of an instruction set.

// Rows of an operation that goes row by row.
template <typename F>
void each_row(const Launch& launch, int64_t rows, const F& f) {
  Range mine = part_of(rows, launch.part, launch.parts);
  for (int64_t row = mine.begin; row < mine.end; row++) f(row);
}

// Runs of columns of an elementwise operation: f(row, first column, columns). So few rows are work for many threads.
inline constexpr int64_t kRunColumns = 256;
template <int64_t kRun = kRunColumns, typename F>
void each_run(const Launch& launch, int64_t rows, int64_t columns, const F& f) {
  int64_t runs = (columns + kRun - 1) / kRun;
  each_row(launch, rows * runs, [&](int64_t i) {
    int64_t column = i % runs * kRun;
    f(i / runs, column, std::min(kRun, columns - column));
  });
}

// The run of columns that begins at `column`.
template <const InnerLoops& kLoops>
void norm_columns(const RmsNorm& a, int64_t row, int64_t column) {
  int64_t columns = static_cast<int64_t>(a.weight.size());
  kLoops.norm_row(a.x.row(row) + column, a.weight.data(), columns, a.epsilon, a.out.row(row) + column);
  if (a.encoded.data) encode_run<kLoops>(a.out.row(row), a.encoded, row, 0, columns);
}

template <const InnerLoops& kLoops>
void drive_rms_norm(const Launch& launch, const RmsNorm& a) {
  int64_t columns = static_cast<int64_t>(a.weight.size()), runs = a.x.columns / columns;
  each_row(launch, a.x.rows * runs, [&](int64_t i) { norm_columns<kLoops>(a, i / runs, i % runs * columns); });
}

template <const InnerLoops& kLoops>
void drive_sum_squares(const Launch& launch, const SumSquares& a) {
  int64_t heads = a.x.columns / a.width;
  each_row(launch, a.x.rows * heads, [&](int64_t i) {
    int64_t row = i / heads, head = i % heads;
    a.out.row(row)[head] = kLoops.sum_squares(a.x.row(row) + head * a.width, a.width);
  });
}

template <const InnerLoops& kLoops>
void drive_norm_by_squares(const Launch& launch, const NormBySquares& a) {
  each_row(launch, a.x.rows, [&](int64_t i) {
    float* x = a.x.row(i);
    kLoops.scale_by(x, a.weight.data(), factor_of_squares(a, i), a.x.columns, x);
  });
}

template <const InnerLoops& kLoops>
void drive_encode(const Launch& launch, const Encode& a) {
  each_row(launch, a.x.rows, [&](int64_t i) { encode_run<kLoops>(a.x.row(i), a.out, i, 0, a.x.columns); });
}

template <const InnerLoops& kLoops>
void drive_gated_mul(const Launch& launch, const GatedMul& a) {
  auto loop = a.activation == Activation::silu ? kLoops.silu_mul_row : kLoops.gelu_mul_row;
  each_run(launch, a.gate.rows, a.gate.columns, [&](int64_t i, int64_t k, int64_t count) {
    float values[kRunColumns];
    float* out = a.encoded.data ? values : a.out.row(i) + k;
    loop(a.gate.row(i) + k, a.up.row(i) + k, count, out);
    if (a.encoded.data) encode_run<kLoops>(out, a.encoded, i, k, count);
  });
}

template <const InnerLoops& kLoops>
void drive_add_bias(const Launch& launch, const AddBias& a) {
  each_run(launch, a.x.rows, a.x.columns,
           [&](int64_t i, int64_t k, int64_t count) { kLoops.add_row(a.bias.data() + k, count, a.x.row(i) + k); });
}

template <const InnerLoops& kLoops>
void drive_add_scaled(const Launch& launch, const AddScaled& a) {
  each_run(launch, a.x.rows, a.x.columns, [&](int64_t i, int64_t k, int64_t count) {
    kLoops.add_scaled_row(a.y.row(i) + k, a.scale, count, a.x.row(i) + k);
  });
}

template <const InnerLoops& kLoops>
void drive_scale(const Launch& launch, const Scale& a) {
  each_run(launch, a.x.rows, a.x.columns,
           [&](int64_t i, int64_t k, int64_t count) { kLoops.scale_row(a.scale, a.softcap, count, a.x.row(i) + k); });
}

template <const InnerLoops& kLoops>
void drive_rope_append(const Launch& launch, const RopeAppend& a) {
  int head_dim = a.pages.head_dim, half = a.rope.rotary / 2;
  if (head_dim > kAttendHeadDim) return reference_rope_append(launch, a);
  each_row(launch, a.q.rows, [&](int64_t row) {
    int64_t angle = int64_t{a.angles[static_cast<size_t>(row)]} * half;
    const float *cosine = a.rope.cosine + angle, *sine = a.rope.sine + angle;
    for (float* q = a.q.row(row); q < a.q.row(row) + a.q.columns; q += head_dim)
      kLoops.rotate_head(cosine, sine, half, q);
    for (int head = 0; head < a.pages.kv_heads; head++) {
      float k[kAttendHeadDim];
      std::copy_n(a.k.row(row) + head * head_dim, head_dim, k);
      kLoops.rotate_head(cosine, sine, half, k);
      write_slot(a.pages, head, a.slots[static_cast<size_t>(row)], k, a.v.row(row) + head * head_dim);
    }
  });
}

template <const InnerLoops& kLoops>
void combine_columns(const TreeCombine& a, int64_t row, int64_t column, int64_t count) {
  kLoops.combine_run({.nodes = a.nodes.data(),
                      .pops = a.program->pops.data(),
                      .count = static_cast<int>(a.nodes.size()),
                      .offset = row * a.stride + column,
                      .columns = count,
                      .accumulate = a.accumulate,
                      .out = a.out.row(row) + column});
}

template <const InnerLoops& kLoops>
void drive_tree_combine(const Launch& launch, const TreeCombine& a) {
  each_run(launch, a.out.rows, a.out.columns,
           [&](int64_t row, int64_t column, int64_t count) { combine_columns<kLoops>(a, row, column, count); });
}

template <const InnerLoops& kLoops>
void drive_add_norm(const Launch& launch, const AddNorm& a) {
  each_row(launch, a.sum.out.rows, [&](int64_t row) {
    combine_columns<kLoops>(a.sum, row, 0, a.sum.out.columns);
    norm_columns<kLoops>(a.norm, row, 0);
  });
}

template <const InnerLoops& kLoops>
void drive_route(const Launch& launch, const Route& a) {
  if (a.logits.columns > kMaxExperts) return reference_route(launch, a);
  each_row(launch, a.logits.rows, [&](int64_t row) {
    float p[kMaxExperts];
    kLoops.softmax_row(a.logits.row(row), a.logits.columns, p);
    choose_experts(a, row, p);
  });
}

template <const InnerLoops& kLoops>
void drive_expert_combine(const Launch& launch, const ExpertCombine& a) {
  if (static_cast<int64_t>(a.program->pops.size()) > kMaxExperts) return reference_expert_combine(launch, a);
  each_run<1024>(launch, a.rows, a.y.columns, [&](int64_t row, int64_t column, int64_t count) {
    ExpertLeaves leaves;
    leaves.collect(a, row, column);
    for (int root = 0; root < a.program->roots; root++) {
      const ExpertLeaves::Sum& sum = leaves.stack[root];
      kLoops.combine_experts({.leaves = leaves.y + sum.first,
                              .weights = leaves.weights + sum.first,
                              .pops = leaves.pops + sum.first,
                              .count = sum.count,
                              .add_zero = sum.has_zero,
                              .columns = count,
                              .out = a.out + root * a.root_stride + row * a.y.columns + column});
    }
  });
}

template <const InnerLoops& kLoops>
void drive_sample(const Launch& launch, const Sample& a) {
  each_row(launch, static_cast<int64_t>(a.rows.size()), [&](int64_t i) {
    const SampleRow& row = a.rows[static_cast<size_t>(i)];
    SampledToken& out = a.out[static_cast<size_t>(i)];
    out = {};
    kLoops.sample_row({.logits = row.logits,
                       .temperature = row.temperature,
                       .key = row.key,
                       .position = row.position,
                       .first_token = a.first_token,
                       .tokens = a.tokens,
                       .before_logit = row.before.logit,
                       .before_token = row.before.token,
                       .score = &out.score,
                       .token = &out.token});
    if (out.token >= 0) out.logit = row.logits[out.token - a.first_token];
  });
}

template <const InnerLoops& kLoops>
void drive_best_tokens(const Launch& launch, const BestTokens& a) {
  each_row(launch, static_cast<int64_t>(a.rows.size()), [&](int64_t i) {
    best_of_row(kLoops.places_above, a.rows[static_cast<size_t>(i)], a, a.out.data() + i * a.count);
  });
}

template <const InnerLoops& kLoops>
void drive_exp_sums(const Launch& launch, const ExpSums& a) {
  const int64_t units = a.units();
  each_row(launch, static_cast<int64_t>(a.rows.size()) * units, [&](int64_t i) {
    const ExpSumRow& row = a.rows[static_cast<size_t>(i / units)];
    const int32_t first = static_cast<int32_t>(i % units) * a.unit, columns = std::min(a.unit, a.tokens - first);
    ExpSum& out = a.out[static_cast<size_t>(i)];
    kLoops.exp_sum({.x = row.logits + first,
                    .columns = columns,
                    .first_token = a.first_token + first,
                    .temperature = row.temperature,
                    .before_logit = row.before.logit,
                    .before_token = row.before.token,
                    .largest = &out.largest,
                    .sum = &out.sum});
    out.logit = logit_of(row, a, first, columns);
  });
}

template <const InnerLoops& kLoops>
void fill_from(Kernels& kernels) {
  kernels.rms_norm = drive_rms_norm<kLoops>;
  kernels.encode = drive_encode<kLoops>;
  kernels.matmul = drive_matmul<kLoops>;
  kernels.gated_matmul = drive_gated_matmul<kLoops>;
  kernels.rope_append = drive_rope_append<kLoops>;
  kernels.attention = drive_attention<kLoops>;
  kernels.gated_mul = drive_gated_mul<kLoops>;
  kernels.sum_squares = drive_sum_squares<kLoops>;
  kernels.norm_by_squares = drive_norm_by_squares<kLoops>;
  kernels.add_bias = drive_add_bias<kLoops>;
  kernels.add_scaled = drive_add_scaled<kLoops>;
  kernels.scale = drive_scale<kLoops>;
  kernels.route = drive_route<kLoops>;
  kernels.expert_combine = drive_expert_combine<kLoops>;
  kernels.tree_combine = drive_tree_combine<kLoops>;
  kernels.add_norm = drive_add_norm<kLoops>;
  kernels.sample = drive_sample<kLoops>;
  kernels.best_tokens = drive_best_tokens<kLoops>;
  kernels.exp_sums = drive_exp_sums<kLoops>;
}

}  // namespace trireme
