// The scalar reference: what every other level is compared with, bit for bit. It is written for reading; the order of
// each sum below is the definition (docs/numerics.md).
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "kernels/cpu/inner.h"
#include "kernels/cpu/levels.h"
#include "kernels/elementary.h"
#include "kernels/gated.h"
#include "kernels/random.h"
#include "kernels/token_order.h"

namespace trireme {

namespace {

void embed(const Launch& launch, const Embed& a) {
  Range rows = part_of(a.out.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) {
    int64_t token = int64_t{a.tokens[static_cast<size_t>(i)]} - a.first_token;
    if (token < 0 || token >= a.table.n) continue;
    for (int64_t k = 0; k < a.table.k; k++) a.out.row(i)[k] = packed_value(a.table, token, k);
  }
}

void gather_rows(const Launch& launch, const GatherRows& a) {
  Range rows = part_of(a.out.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) std::copy_n(a.row(i), a.out.columns, a.out.row(i));
}

void take_rows(const Launch& launch, const TakeRows& a) {
  Range rows = part_of(a.out.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++)
    if (const int32_t row = a.rows[static_cast<size_t>(i)]; row >= 0)
      std::copy_n(a.x.row(row), a.out.columns, a.out.row(i));
}

void encode_bf16_row(const float* x, int64_t columns, int64_t padded, BF16* out) {
  for (int64_t k = 0; k < padded; k++) out[k] = k < columns ? to_bf16(x[k]) : BF16{0};
}

// The largest |x|; NaN where one of them is no finite number.
float largest_of(const float* x, int64_t columns) {
  float largest = 0;
  bool finite = true;
  for (int64_t i = 0; i < columns; i++) {
    largest = std::fmax(largest, std::fabs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  return finite ? largest : std::numeric_limits<float>::quiet_NaN();
}

void encode_group(const float* x, int64_t columns, Int8Group& group) {
  const float amax = largest_of(x, columns);
  group = {};
  group.scale = group.scaled_sum = std::isnan(amax) ? amax : 0;
  if (!(amax >= kSmallestGroup)) return;
  float inverse = 127.0f / amax;
  int sum = 0;
  for (int64_t i = 0; i < columns; i++) {
    group.code[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
    sum += group.code[i];
  }
  group.scale = amax / 127.0f;
  group.scaled_sum = group.scale * static_cast<float>(sum);
  group.minus_8_sum = -8 * sum;
  group.minus_128_sum = -128 * sum;
}

void encode_row(const float* x, const Activations& out, int64_t row) { encode_columns(x, out, row, 0, out.columns); }

void encode(const Launch& launch, const Encode& a) {
  Range rows = part_of(a.x.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) encode_row(a.x.row(i), a.out, i);
}

float squares(const float* x, int64_t columns) {
  float lanes[16] = {};
  for (int64_t k = 0; k < columns; k++) lanes[k % 16] = std::fma(x[k], x[k], lanes[k % 16]);
  return sum_lanes(lanes, 16);
}

float norm_factor(float sum, int64_t columns, float epsilon) {
  return 1.0f / std::sqrt(sum / static_cast<float>(columns) + epsilon);
}

void norm_row(const RmsNorm& a, int64_t i) {
  const int64_t columns = static_cast<int64_t>(a.weight.size());
  for (int64_t run = 0; run + columns <= a.x.columns; run += columns) {
    const float* x = a.x.row(i) + run;
    float factor = norm_factor(squares(x, columns), columns, a.epsilon);
    for (int64_t k = 0; k < columns; k++) a.out.row(i)[run + k] = x[k] * factor * a.weight[static_cast<size_t>(k)];
    if (a.encoded.data) encode_row(a.out.row(i), a.encoded, i);
  }
}

void rms_norm(const Launch& launch, const RmsNorm& a) {
  Range rows = part_of(a.x.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) norm_row(a, i);
}

void sum_squares(const Launch& launch, const SumSquares& a) {
  Range rows = part_of(a.x.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++)
    for (int64_t head = 0; head * a.width < a.x.columns; head++)
      a.out.row(i)[head] = squares(a.x.row(i) + head * a.width, a.width);
}

void norm_by_squares(const Launch& launch, const NormBySquares& a) {
  Range rows = part_of(a.x.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) {
    float factor = factor_of_squares(a, i);
    for (int64_t k = 0; k < a.x.columns; k++) a.x.row(i)[k] = a.x.row(i)[k] * factor * a.weight[static_cast<size_t>(k)];
  }
}

void gated_mul(const Launch& launch, const GatedMul& a) {
  Range rows = part_of(a.gate.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) {
    for (int64_t k = 0; k < a.gate.columns; k += kInputGroup) {
      const int64_t count = std::min<int64_t>(kInputGroup, a.gate.columns - k);
      float values[kInputGroup];
      for (int64_t j = 0; j < count; j++) values[j] = gated(a.activation, a.gate.row(i)[k + j], a.up.row(i)[k + j]);
      if (a.encoded.data)
        encode_columns(values, a.encoded, i, k, count);
      else
        std::copy_n(values, count, a.out.row(i) + k);
    }
  }
}

void add_bias(const Launch& launch, const AddBias& a) {
  Range rows = part_of(a.x.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++)
    for (int64_t k = 0; k < a.x.columns; k++) a.x.row(i)[k] = a.x.row(i)[k] + a.bias[static_cast<size_t>(k)];
}

void add_scaled(const Launch& launch, const AddScaled& a) {
  Range rows = part_of(a.x.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++)
    for (int64_t k = 0; k < a.x.columns; k++) a.x.row(i)[k] = a.x.row(i)[k] + a.y.row(i)[k] * a.scale;
}

void scale(const Launch& launch, const Scale& a) {
  Range rows = part_of(a.x.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++)
    for (int64_t k = 0; k < a.x.columns; k++) {
      float x = a.x.row(i)[k] * a.scale;
      a.x.row(i)[k] = a.softcap > 0 ? soft_cap(x, a.softcap) : x;
    }
}

// Added a run of columns at a time, with the stack of sums on this thread's stack.
constexpr int64_t kCombineColumns = 64;
constexpr int kCombineDepth = 32;  // the tree over any int of units is no deeper

void combine_run(const TreeCombine& a, int64_t row, int64_t column, int64_t count) {
  float stack[kCombineDepth][kCombineColumns];
  int depth = 0;
  for (size_t node = 0; node < a.nodes.size(); node++) {
    const float* x = a.nodes[node] + row * a.stride + column;
    for (int64_t k = 0; k < count; k++) stack[depth][k] = x[k];
    depth++;
    for (int pops = a.program->pops[node]; pops > 0; pops--, depth--)
      for (int64_t k = 0; k < count; k++) stack[depth - 2][k] = stack[depth - 2][k] + stack[depth - 1][k];
  }
  float* out = a.out.row(row) + column;
  for (int64_t k = 0; k < count; k++) out[k] = a.accumulate ? out[k] + stack[0][k] : stack[0][k];
}

void tree_combine(const Launch& launch, const TreeCombine& a) {
  int64_t runs = (a.out.columns + kCombineColumns - 1) / kCombineColumns;
  Range mine = part_of(a.out.rows * runs, launch.part, launch.parts);
  for (int64_t i = mine.begin; i < mine.end; i++) {
    int64_t column = i % runs * kCombineColumns;
    combine_run(a, i / runs, column, std::min(kCombineColumns, a.out.columns - column));
  }
}

void add_norm(const Launch& launch, const AddNorm& a) {
  Range rows = part_of(a.sum.out.rows, launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++) {
    for (int64_t k = 0; k < a.sum.out.columns; k += kCombineColumns)
      combine_run(a.sum, i, k, std::min(kCombineColumns, a.sum.out.columns - k));
    norm_row(a.norm, i);
  }
}

SampledToken sample_row(const SampleRow& row, int32_t first_token, int32_t tokens) {
  SampledToken best;
  for (int32_t t = 0; t < tokens; t++) {
    float score = row.logits[t];
    if (std::isnan(score)) return {};
    if (!row.before.holds(score, first_token + t)) continue;
    if (row.temperature > 0) {
      float u = uniform_float(token_word(row.key, row.position, first_token + t));
      score = score / row.temperature + -log_float(-log_float(u));
    }
    if (best.token < 0 || score > best.score) best = {score, first_token + t, row.logits[t]};
  }
  return best;
}

void sample(const Launch& launch, const Sample& a) {
  Range rows = part_of(static_cast<int64_t>(a.rows.size()), launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++)
    a.out[static_cast<size_t>(i)] = sample_row(a.rows[static_cast<size_t>(i)], a.first_token, a.tokens);
}

void best_of_row(const float* logits, const BestTokens& a, TokenLogit* out) {
  uint64_t best[kMostBest];  // descending
  int32_t found = 0;
  for (int32_t t = 0; t < a.tokens; t++) {
    const uint64_t order = token_order(logits[t], t);
    if (found == a.count && order < best[found - 1]) continue;
    int32_t at = found < a.count ? found++ : found - 1;
    for (; at > 0 && best[at - 1] < order; at--) best[at] = best[at - 1];
    best[at] = order;
  }
  std::sort(best, best + found, [](uint64_t x, uint64_t y) { return token_of(x) < token_of(y); });
  for (int32_t i = 0; i < a.count; i++) {
    const int32_t t = i < found ? token_of(best[i]) : -1;
    out[i] = t < 0 ? TokenLogit{} : TokenLogit{logits[t], a.first_token + t};
  }
}

void best_tokens(const Launch& launch, const BestTokens& a) {
  Range rows = part_of(static_cast<int64_t>(a.rows.size()), launch.part, launch.parts);
  for (int64_t i = rows.begin; i < rows.end; i++)
    best_of_row(a.rows[static_cast<size_t>(i)], a, a.out.data() + i * a.count);
}

void exp_sums(const Launch& launch, const ExpSums& a) {
  const int64_t units = a.units();
  Range items = part_of(static_cast<int64_t>(a.rows.size()) * units, launch.part, launch.parts);
  for (int64_t i = items.begin; i < items.end; i++) {
    const ExpSumRow& row = a.rows[static_cast<size_t>(i / units)];
    const int32_t first = static_cast<int32_t>(i % units) * a.unit, columns = std::min(a.unit, a.tokens - first);
    const float* x = row.logits + first;
    ExpSum& out = a.out[static_cast<size_t>(i)];
    out = {-std::numeric_limits<float>::infinity(), 0, 0};
    for (int32_t k = 0; k < columns; k++) out.largest = std::fmax(out.largest, x[k]);
    float lanes[16] = {};
    if (out.largest > -std::numeric_limits<float>::infinity())
      for (int32_t k = 0; k < columns; k++)
        if (row.before.holds(x[k], a.first_token + first + k))
          lanes[k % 16] += exp_float((x[k] - out.largest) / row.temperature);
    out.sum = sum_lanes(lanes, 16);
    out.logit = logit_of(row, a, first, columns);
  }
}

}  // namespace

void encode_columns(const float* x, const Activations& out, int64_t row, int64_t first, int64_t count) {
  std::byte* to = out.data + row * out.row_bytes;
  const int64_t group = first / kInputGroup, padded = first + count == out.columns ? out.row_bytes / 2 - first : count;
  if (out.form == ActivationForm::bf16) encode_bf16_row(x, count, padded, reinterpret_cast<BF16*>(to) + first);
  if (out.form == ActivationForm::f16) encode_f16_row(x, count, padded, reinterpret_cast<F16*>(to) + first);
  if (out.form == ActivationForm::e4m3) encode_e4m3_row(x, count, reinterpret_cast<E4M3Group*>(to) + group);
  if (out.form != ActivationForm::int8) return;
  for (int64_t k = 0; k < count; k += kInputGroup)
    encode_group(x + k, std::min<int64_t>(kInputGroup, count - k),
                 reinterpret_cast<Int8Group*>(to)[group + k / kInputGroup]);
}

void encode_f16_row(const float* x, int64_t columns, int64_t padded, F16* out) {
  for (int64_t k = 0; k < padded; k++) out[k] = k < columns ? to_f16(x[k]) : F16{0};
}

void encode_e4m3_row(const float* x, int64_t columns, E4M3Group* out) {
  for (int64_t k = 0; k < columns; k += kInputGroup, out++) {
    const int64_t count = std::min<int64_t>(kInputGroup, columns - k);
    const float amax = largest_of(x + k, count);
    *out = {};
    out->scale = std::isnan(amax) ? amax : 0;
    if (!(amax >= kSmallestGroup)) continue;
    const float inverse = kLargestE4M3 / amax;
    for (int64_t i = 0; i < count; i++) out->code[i] = to_e4m3(x[k + i] * inverse);
    out->scale = amax / kLargestE4M3;
  }
}

float factor_of_squares(const NormBySquares& a, int64_t row) {
  float sum = 0;
  for (int64_t head = 0; head < a.sum_squares.columns; head++) sum = sum + a.sum_squares.row(row)[head];
  return norm_factor(sum, a.columns, a.epsilon);
}

void fill_reference(Kernels& kernels) {
  kernels = {.level = "reference",
             .embed = embed,
             .gather_rows = gather_rows,
             .take_rows = take_rows,
             .rms_norm = rms_norm,
             .encode = encode,
             .matmul = reference_matmul,
             .rope_append = reference_rope_append,
             .attention = reference_attention,
             .gated_mul = gated_mul,
             .gated_matmul = reference_gated_matmul,
             .sum_squares = sum_squares,
             .norm_by_squares = norm_by_squares,
             .add_bias = add_bias,
             .add_scaled = add_scaled,
             .scale = scale,
             .route = reference_route,
             .place_by_expert = reference_place_by_expert,
             .expert_combine = reference_expert_combine,
             .tree_combine = tree_combine,
             .add_norm = add_norm,
             .sample = sample,
             .best_tokens = best_tokens,
             .exp_sums = exp_sums};
}

}  // namespace trireme
