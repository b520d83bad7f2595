#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "kernels/cpu/fused_flushed.h"
#include "kernels/cpu/levels.h"
#include "kernels/elementary.h"

namespace trireme {

namespace {

// Pairs (i, i + rotary / 2) turned by the angles of a row of the table; the rest of a head goes through.
void rotate_head(const RopeTable& rope, int64_t angles, const float* x, int head_dim, float* out) {
  int half = rope.rotary / 2;
  for (int i = 0; i < half; i++) {
    float cosine = rope.cosine[angles * half + i], sine = rope.sine[angles * half + i];
    float a = x[i], b = x[i + half];
    out[i] = std::fma(a, cosine, -(b * sine));
    out[i + half] = std::fma(b, cosine, a * sine);
  }
  for (int i = rope.rotary; i < head_dim; i++) out[i] = x[i];
}

void write_page(DType type, std::byte* page, int64_t index, float value) {
  if (type == DType::bf16)
    reinterpret_cast<BF16*>(page)[index] = to_bf16(value);
  else
    reinterpret_cast<float*>(page)[index] = value;
}

float read_page(DType type, const std::byte* page, int64_t index) {
  return type == DType::bf16 ? to_float(reinterpret_cast<const BF16*>(page)[index])
                             : reinterpret_cast<const float*>(page)[index];
}

constexpr int kMaxHeadDim = 512;

void append_head(const RopeAppend& a, int64_t row, int head) {
  int head_dim = a.pages.head_dim;
  float k[kMaxHeadDim];
  rotate_head(a.rope, a.angles[static_cast<size_t>(row)], a.k.row(row) + head * head_dim, head_dim, k);
  write_slot(a.pages, head, a.slots[static_cast<size_t>(row)], k, a.v.row(row) + head * head_dim);
}

// What a block of positions, or a run of blocks, says about one query: the largest score, the sum of
// exp(score - largest), and the values summed with these weights.
struct Softmax {
  float largest, sum, out[kMaxHeadDim];
};

// The block's positions [begin, end); the others are never read.
void attend_block(const Attention& a, const float* q, int64_t tile, int begin, int end, Softmax& block) {
  const KvPages& pages = a.pages;
  float p[kBlockTokens] = {};
  block.largest = -std::numeric_limits<float>::infinity();
  for (int j = begin; j < end; j++) {
    float dot = 0;
    for (int d = 0; d < pages.head_dim; d++)
      dot = std::fma(q[d], read_page(pages.type, pages.k, tile + d * kBlockTokens + j), dot);
    p[j] = dot * a.scale;
    if (a.softcap > 0) p[j] = soft_cap(p[j], a.softcap);
    block.largest = p[j] > block.largest ? p[j] : block.largest;
  }
  for (int j = begin; j < end; j++) p[j] = exp_float(p[j] - block.largest);
  for (int d = 0; d < pages.head_dim; d++) {
    float out = 0;
    for (int j = begin; j < end; j++)
      out = std::fma(p[j], read_page(pages.type, pages.v, tile + j * pages.head_dim + d), out);
    block.out[d] = out;
  }
  block.sum = sum_lanes(p, kBlockTokens);
}

// The same in BF16: chains of pairs, over all positions of the block, of which those not seen have weights and values
// of zero.
void attend_block_bf16(const Attention& a, const float* q, int64_t tile, int begin, int end, Softmax& block) {
  const KvPages& pages = a.pages;
  const auto number = [](float x) { return to_float(to_bf16(x)); };
  const auto k = [&](int d, int j) { return read_page(DType::bf16, pages.k, tile + d * kBlockTokens + j); };
  float p[kBlockTokens] = {};
  block.largest = -std::numeric_limits<float>::infinity();
  for (int j = begin; j < end; j++) {
    float dot = 0;
    for (int d = 0; d < pages.head_dim; d += 2) {
      dot = fused_flushed(number(q[d + 1]), k(d + 1, j), dot);
      dot = fused_flushed(number(q[d]), k(d, j), dot);
    }
    p[j] = dot * a.scale;
    if (a.softcap > 0) p[j] = soft_cap(p[j], a.softcap);
    block.largest = p[j] > block.largest ? p[j] : block.largest;
  }
  for (int j = begin; j < end; j++) p[j] = number(exp_weight(p[j] - block.largest));
  for (int d = 0; d < pages.head_dim; d++) {
    const auto v = [&](int j) {
      return j >= begin && j < end ? read_page(DType::bf16, pages.v, tile + j * pages.head_dim + d) : 0;
    };
    float out = 0;
    for (int j = 0; j < kBlockTokens; j += 2) {
      out = fused_flushed(p[j + 1], v(j + 1), out);
      out = fused_flushed(p[j], v(j), out);
    }
    block.out[d] = out;
  }
  block.sum = sum_lanes(p, kBlockTokens);
}

void join(const Attention& a, Softmax& all, const Softmax& block) {
  const int head_dim = a.pages.head_dim;
  const auto exp = a.bf16_products ? exp_weight : exp_float;
  float largest = block.largest > all.largest ? block.largest : all.largest;
  float old_factor = exp(all.largest - largest), new_factor = exp(block.largest - largest);
  all.sum = std::fma(all.sum, old_factor, block.sum * new_factor);
  for (int d = 0; d < head_dim; d++) all.out[d] = std::fma(all.out[d], old_factor, block.out[d] * new_factor);
  all.largest = largest;
}

void attend(const Attention& a, const AttentionSpan& span, int64_t i, int head) {
  int head_dim = a.pages.head_dim, kv_head = a.kv_head_of[static_cast<size_t>(head)];
  int64_t row = span.first_row + i, positions = span.first_position + i + 1;
  int64_t first = a.window > 0 ? std::max<int64_t>(0, positions - a.window) : 0, first_block = first / kBlockTokens;
  const float* q = a.q.row(row) + int64_t{head} * head_dim;
  const int64_t end_block = (positions + kBlockTokens - 1) / kBlockTokens;
  Softmax all, partition, block;
  for (int64_t b = first_block; b < end_block; b++) {
    int64_t tile = (span.block_table[b] * a.pages.block_heads + kv_head) * head_dim * kBlockTokens;
    int begin = static_cast<int>(std::max<int64_t>(0, first - b * kBlockTokens));
    int end = static_cast<int>(std::min<int64_t>(kBlockTokens, positions - b * kBlockTokens));
    const bool begins = b == first_block || b % kPartitionBlocks == 0;
    (a.bf16_products ? attend_block_bf16 : attend_block)(a, q, tile, begin, end, begins ? partition : block);
    if (!begins) join(a, partition, block);
    if (b + 1 < end_block && (b + 1) % kPartitionBlocks != 0) continue;
    if (b / kPartitionBlocks == first_block / kPartitionBlocks)
      all = partition;
    else
      join(a, all, partition);
  }
  float* out = a.out.row(row) + int64_t{head} * head_dim;
  for (int d = 0; d < head_dim; d++) out[d] = all.out[d] / all.sum;
  if (a.encoded.data) encode_columns(out, a.encoded, row, int64_t{head} * head_dim, head_dim);
}

}  // namespace

void write_slot(const KvPages& pages, int head, int64_t slot, const float* k, const float* v) {
  int64_t tile = (slot / kBlockTokens * pages.block_heads + head) * pages.head_dim * kBlockTokens,
          lane = slot % kBlockTokens;
  for (int d = 0; d < pages.head_dim; d++) {
    write_page(pages.type, pages.k, tile + d * kBlockTokens + lane, k[d]);
    write_page(pages.type, pages.v, tile + lane * pages.head_dim + d, v[d]);
  }
}

void reference_rope_append(const Launch& launch, const RopeAppend& a) {
  int head_dim = a.pages.head_dim;
  int64_t heads = a.q.columns / head_dim;
  Range rows = part_of(a.q.rows, launch.part, launch.parts);
  for (int64_t row = rows.begin; row < rows.end; row++) {
    for (int64_t h = 0; h < heads; h++) {
      float* q = a.q.row(row) + h * head_dim;
      rotate_head(a.rope, a.angles[static_cast<size_t>(row)], q, head_dim, q);
    }
    for (int h = 0; h < a.pages.kv_heads; h++) append_head(a, row, h);
  }
}

void reference_attention(const Launch& launch, const Attention& a) {
  int64_t heads = static_cast<int64_t>(a.kv_head_of.size());
  for (const AttentionSpan& span : a.spans) {
    Range mine = part_of(span.rows * heads, launch.part, launch.parts);
    for (int64_t item = mine.begin; item < mine.end; item++)
      attend(a, span, item / heads, static_cast<int>(item % heads));
  }
}

}  // namespace trireme
