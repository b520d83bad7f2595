#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "base/dtype.h"
#include "base/view.h"
#include "kernels/packed_matrix.h"
#include "kernels/unit_tree.h"

namespace trireme {

// The contract of every compute backend: one table of operations, filled with the scalar reference first and overridden
// upward by what the machine has (kernels/select.h). Rules that all fillings keep:
//  - the bits of a row do not depend on how many rows are beside it, on its place among them, or on `Launch`;
//  - sums run in the order that docs/numerics.md gives, in which tensor cores have a part of their own;
//  - nothing is allocated, locked or logged; all memory belongs to the caller and outlives the call.

// Which part of an operation this call does. CPU: part `part` of `parts`, called once on every thread of a team.
// CUDA: part 0 of 1, enqueued on `stream`.
struct Launch {
  int part = 0;
  int parts = 1;
  void* stream = nullptr;
  bool early = false;        // CUDA, from sm_90 on: the kernel may begin while those before it are at work
  bool* enqueued = nullptr;  // CUDA: becomes true where a kernel is
  void* products = nullptr;  // a library's, where they are in the table (src/device/library_products.h)
  // In which threads, or a GPU's blocks of them, leave something for each other, zeros at first; or none.
  std::span<std::byte> workspace;
};
// Of a CPU: results of attention's partitions, a sequence of 290 thousand positions of an 8B. Of a GPU: the same for
// eight of 250 thousand, and 132 tiles of 128 rows and outputs.
inline constexpr int64_t kWorkspaceBytes = 9 << 20, kGpuWorkspaceBytes = 64 << 20;
// Counts come first, of whatever operation, and are zeros before and after it; the rest may hold anything.
inline constexpr int64_t kWorkspaceCounts = 128;
inline constexpr int64_t kWorkspaceCountBytes = kWorkspaceCounts * int64_t{sizeof(int)};

// The inputs of products. f32: MatrixView<float>; f16, bf16: rounded to nearest even; int8, e4m3: per row, groups of 32
// columns.
enum class ActivationForm : uint8_t { f32, f16, bf16, int8, e4m3 };

inline constexpr int kInputGroup = 32;  // columns that share an activation scale (docs/numerics.md)
// 32 columns of one row: x[i] is about scale * code[i], scale = max |x| / 127. A NaN or infinity in x makes scale NaN.
struct Int8Group {
  int8_t code[kInputGroup];
  float scale;
  float scaled_sum;       // scale * (float)(sum of code): multiplies a weight's minimum
  int32_t minus_8_sum;    // -8 * sum of code:   what zero 8 takes away   (Q4_0)
  int32_t minus_128_sum;  // -128 * sum of code: what zero 128 takes away (Q8_0)
};
static_assert(sizeof(Int8Group) == 48);
// Likewise, scale = max |x| / 448: the largest FP8 number.
struct E4M3Group {
  E4M3 code[kInputGroup];
  float scale;
  float unused[3];
};
static_assert(sizeof(E4M3Group) == sizeof(Int8Group));

// Rows ready to be multiplied: [rows, columns] in one of the forms. Row i starts at data + i * row_bytes.
struct Activations {
  ActivationForm form = ActivationForm::f32;
  std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_bytes = 0;  // a multiple of 16
};
// Bytes of a row of `columns` (int8, e4m3: rounded up to whole groups; the rest of the last group is coded 0).
int64_t activation_row_bytes(ActivationForm form, int64_t columns);
ActivationForm activation_form(PackedForm form);  // what a product with such weights takes

struct Embed {
  std::span<const int32_t> tokens;  // [rows]
  int32_t first_token = 0;          // row 0 of the table is this token; other tokens than the table's leave `out` alone
  PackedView table;                 // [tokens held, hidden]
  MatrixView<float> out;            // [rows, hidden]
};

// Brings rows of several matrices together.
struct RowPlace {
  int32_t matrix = 0, row = 0;
};
struct GatherRows {
  std::span<const float* const> matrices;
  int64_t stride = 0;                // floats, of all of them
  std::span<const RowPlace> places;  // [rows]
  MatrixView<float> out;             // [rows, columns]

  TRIREME_HD const float* row(int64_t i) const {
    const RowPlace place = places[static_cast<size_t>(i)];
    return matrices[static_cast<size_t>(place.matrix)] + place.row * stride;
  }
};

// Rows of one matrix, in the order of a list; -1 in it leaves a row of `out` alone.
struct TakeRows {
  MatrixView<const float> x;
  std::span<const int32_t> rows;  // [rows of out]
  MatrixView<float> out;
};

// Every run of weight.size() columns is normed by itself: the whole row, or each head (q and k norms).
struct RmsNorm {
  MatrixView<const float> x;      // [rows, runs * columns]
  std::span<const float> weight;  // [columns]
  float epsilon = 0;
  MatrixView<float> out;     // like x; may be x
  Activations encoded = {};  // with data: `out` as Encode leaves it, too; the runs are whole rows
};

// A norm over heads that several ranks hold (OLMo 2) goes in two steps: each head's sum of squares, which the ranks
// exchange, then the norm by all of them. A head's sum has the lanes of a norm; heads are added in their order.
struct SumSquares {
  MatrixView<const float> x;  // [rows, heads * width]
  int64_t width = 0;
  MatrixView<float> out;  // [rows, heads]
};
struct NormBySquares {
  MatrixView<float> x;                  // [rows, columns held], in place
  std::span<const float> weight;        // [columns held]
  MatrixView<const float> sum_squares;  // [rows, all heads]
  int64_t columns = 0;                  // of all heads
  float epsilon = 0;
};

struct Encode {
  MatrixView<const float> x;  // [rows, columns]
  Activations out;            // not f32, which needs no encoding
};

// Rows in the order of experts, each expert's by a matrix of its own: [ends[e - 1], ends[e]) by the one that stands
// e * w.to_next bytes behind the first. What stands in rows past the last end is of no account.
struct ExpertRows {
  std::span<const int32_t> ends;  // [experts]; none: all rows by one matrix
  int64_t usual = 0;              // rows of an expert, about: kernels are chosen by it, which changes no bits
};

// y = x w^T + bias: [rows, n], summed along the contraction's tree. A part of the contraction leaves several sums
// ("roots").
struct MatMul {
  Activations x;  // [rows, k]; k = contraction->total_columns, form = activation_form(w.form)
  PackedView w;   // [n, k]; of experts the first one's
  const Contraction* contraction = nullptr;
  float* y = nullptr;       // [roots][rows, n]
  int64_t y_stride = 0;     // floats from a row to the next, >= n
  int64_t root_stride = 0;  // floats from a root to the next; unused when there is one

  std::span<const float> bias = {};  // [n], or none; of one root
  ExpertRows experts = {};
};

// Rotary positions: pairs (i, i + rotary / 2) of the first `rotary` values of a head, as in transformers.
struct RopeTable {
  const float* cosine = nullptr;  // [positions, rotary / 2]
  const float* sine = nullptr;    // [positions, rotary / 2]
  int rotary = 0;                 // <= head_dim, even
};

inline constexpr int kBlockTokens = 32;  // positions in a KV block; also the attention's block of sums
// KV blocks in a partition, whose sums attention makes by itself: threads may share a sequence (docs/numerics.md).
inline constexpr int kPartitionBlocks = 16;

// One layer's pages. K is transposed inside a block so that a vector lane is a position.
struct KvPages {
  DType type = DType::f32;  // f32 or bf16
  std::byte* k = nullptr;   // [blocks][kv_heads][head_dim][kBlockTokens]
  std::byte* v = nullptr;   // [blocks][kv_heads][kBlockTokens][head_dim]
  int kv_heads = 0;         // held on this rank
  int head_dim = 0;
  int64_t block_heads = 0;  // tiles of a head from one block to the next, of k as of v: kv_heads at least
};

// Rotates q in place; rotates k, rounds k and v to the cache's type (nearest even) and writes them at their slots. A
// table with rotary 0 turns nothing (layers without RoPE).
struct RopeAppend {
  MatrixView<float> q;              // [rows, heads * head_dim]
  MatrixView<const float> k;        // [rows, kv_heads * head_dim]
  MatrixView<const float> v;        // [rows, kv_heads * head_dim]
  std::span<const int32_t> angles;  // [rows] row of the table: the position, or that in another set of frequencies
  std::span<const int64_t> slots;   // [rows] block * kBlockTokens + position % kBlockTokens
  RopeTable rope;
  KvPages pages;
};

// A run of consecutive rows that belong to one sequence: row i stands at position first_position + i and sees the
// positions up to its own, at most Attention::window of them.
struct AttentionSpan {
  int32_t first_row = 0;
  int32_t rows = 0;  // one at least
  int32_t first_position = 0;
  // [ceil((first_position + rows) / kBlockTokens)]; those of blocks before the first row's window are not read.
  const int32_t* block_table = nullptr;
};

struct Attention {
  MatrixView<const float> q;             // [rows, heads * head_dim], rotated
  std::span<const AttentionSpan> spans;  // cover every row once, in order
  std::span<const int32_t> kv_head_of;   // [heads] index into the pages' kv_heads, ascending
  float scale = 0;                       // 1 / sqrt(head_dim), unless the model has its own
  float softcap = 0;                     // > 0: scores become softcap * tanh(score / softcap), after the scale
  int32_t window = 0;                    // > 0: positions that a row sees, its own included; blocks before: no-op
  KvPages pages;
  MatrixView<float> out;     // [rows, heads * head_dim]
  Activations encoded = {};  // with data: `out` as Encode leaves it, too; head_dim is a multiple of kInputGroup
  // q and the weights are rounded to BF16 like K and V, and so multiplied: at levels that have it
  // (Kernels::bf16_attention), with pages that take it.
  bool bf16_products = false;
};
inline bool takes_bf16_products(const KvPages& pages) {
  return pages.type == DType::bf16 && pages.head_dim % 16 == 0 && pages.head_dim <= 256;
}

enum class Activation : uint8_t { silu, gelu_tanh };

// out = activation(gate) * up. gelu_tanh: x / 2 * (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GatedMul {
  Activation activation = Activation::silu;
  MatrixView<const float> gate;  // [rows, columns]
  MatrixView<const float> up;    // [rows, columns]
  MatrixView<float> out;         // [rows, columns]
  Activations encoded = {};      // with data: what Encode makes of `out`, in place of it
};

// gate and up as the two halves of a product's outputs, and what GatedMul makes of them.
struct GatedMatMul {
  MatMul product;  // one root; w: can_gate() says so. y: [rows, n], left with anything
  Activation activation = Activation::silu;
  MatrixView<float> out;     // [rows, n / 2]
  Activations encoded = {};  // with data: what Encode makes of `out`, in place of it
};

struct AddBias {
  MatrixView<float> x;          // [rows, columns], in place
  std::span<const float> bias;  // [columns]
};

// x += y * scale, the product rounded first (not fused).
struct AddScaled {
  MatrixView<float> x;        // [rows, columns]
  MatrixView<const float> y;  // [rows, columns]
  float scale = 1;
};

// x = x * scale, then softcap * tanh(x / softcap) where softcap > 0: embeddings and logits of some families.
struct Scale {
  MatrixView<float> x;  // [rows, columns], in place
  float scale = 1;
  float softcap = 0;
};

// Mixture of experts: softmax over the logits of all experts (16 lanes, as exp_sums sums), the top_k most probable
// of them in descending order, ties by lower id; normalize: their weights are divided by their sum (added in that
// order). A NaN or infinity among the logits of a row: experts 0 to top_k - 1 with weights NaN.
struct Route {
  MatrixView<const float> logits;  // [rows, experts]
  int top_k = 0;                   // 1 to the number of experts
  bool normalize = false;
  std::span<int32_t> experts;  // [rows, top_k]
  std::span<float> weights;    // [rows, top_k]
};

// Which rows of a step go to which of the experts held: places, where an expert's rows are consecutive and ascending,
// one expert after the other.
struct PlaceByExpert {
  std::span<const int32_t> experts;  // [rows, top_k], as Route leaves them
  int top_k = 0;
  int32_t first_expert = 0;     // held are this one and those after it
  std::span<int32_t> ends;      // [experts held] of their places
  std::span<int32_t> row_of;    // [places: rows * min(top_k, experts held)], then -1, where others hold the experts
  std::span<int32_t> place_of;  // [rows, top_k], -1 of an expert that is not held

  TRIREME_HD int64_t rows() const { return static_cast<int64_t>(experts.size()) / top_k; }
};

// The sum over the experts held, along the tree of all experts: a leaf is weight * (the row's result), rounded, where
// the row went to that expert, else zero (which is added like any other value, so that no border shows).
struct ExpertCombine {
  MatrixView<const float> y;          // [places, columns] results
  std::span<const int32_t> experts;   // [rows, top_k], as Route leaves them
  std::span<const float> weights;     // [rows, top_k]
  std::span<const int32_t> place_of;  // [rows, top_k] row of y, or -1
  int top_k = 0;
  UnitRange held;
  int total = 0;                         // of all ranks
  const TreeProgram* program = nullptr;  // over the experts held
  int64_t rows = 0;
  float* out = nullptr;     // [roots][rows, columns], dense rows
  int64_t root_stride = 0;  // floats
};

// Finishes the tree: nodes' sums come in unit order from whoever held them, added as `program` says, then
// out += sum (accumulate) or out = sum. Elementwise over rows.
struct TreeCombine {
  std::span<const float* const> nodes;   // [nodes] each [rows, columns] with the same stride
  const TreeProgram* program = nullptr;  // leaves exactly one root
  int64_t stride = 0;                    // floats, of every node
  MatrixView<float> out;                 // [rows, columns]
  bool accumulate = false;
};

// A residual and the norm after it: `sum`, then `norm`, whose x is the sum's out and whose runs are whole rows. Of few
// nodes: more, which other ranks hold, are brought by more threads than a row's norm has.
struct AddNorm {
  static constexpr int kMostNodes = 2;
  TreeCombine sum;
  RmsNorm norm;
};

// The tokens that rank before one of this logit and id: larger logits, of equal ones lower ids. As it stands: all.
struct RankBound {
  float logit = -std::numeric_limits<float>::infinity();
  int32_t token = std::numeric_limits<int32_t>::max();

  TRIREME_HD bool holds(float l, int32_t t) const { return l > logit || (l == logit && t < token); }
};

// The best token of a row among those held within the bound, by score, ties by lower id. score = logit at temperature
// 0, else logit / temperature + Gumbel noise keyed by (key, position, token) (kernels/random.h).
struct SampleRow {
  const float* logits = nullptr;  // [tokens held]
  float temperature = 0;
  uint64_t key = 0;  // of (seed, request)
  int32_t position = 0;
  RankBound before = {};
};
struct SampledToken {
  float score = 0;
  int32_t token = -1;  // -1: none there, or the row has a NaN
  float logit = 0;     // of the token
};
inline constexpr int kSampleParts = 64;  // of a row at most: 2000 tokens of a vocabulary of 128000 each
struct Sample {
  std::span<const SampleRow> rows;
  int32_t first_token = 0;
  int32_t tokens = 0;
  std::span<SampledToken> out;  // [rows]
  // [rows, kSampleParts], or empty: where the blocks of a GPU that share a row leave what they find.
  std::span<SampledToken> parts = {};
};

// The `count` largest logits of a row among the tokens held, ties by lower id, in the order of their ids; token -1
// after them where fewer are held. Of a row that has a NaN: any.
struct TokenLogit {
  float logit = 0;
  int32_t token = -1;
};
inline constexpr int32_t kMostBest = 256;
struct BestTokens {
  std::span<const float* const> rows;  // each [tokens held]
  int32_t first_token = 0;
  int32_t tokens = 0;
  int32_t count = 1;          // to kMostBest
  std::span<TokenLogit> out;  // [rows, count]
};

// Of a row, by unit of the vocabulary: the largest logit; the sum of exp((logit - largest) / temperature) in 16 lanes
// (docs/numerics.md) over the tokens within the bound, 0 where the largest is -infinity; and the logit of one token, 0
// where the unit does not have it. Whole units, so that it does not depend on which are held.
struct ExpSumRow {
  const float* logits = nullptr;  // [tokens held]
  float temperature = 1;
  int32_t token = -1;
  RankBound before = {};
};
struct ExpSum {
  float largest = 0, sum = 0, logit = 0;
};
struct ExpSums {
  std::span<const ExpSumRow> rows;
  int32_t first_token = 0;
  int32_t tokens = 0;
  int32_t unit = 1;       // tokens of one; the last may have fewer
  std::span<ExpSum> out;  // [rows, units held]

  TRIREME_HD int64_t units() const { return (tokens + unit - 1) / unit; }
};

// How many values an operation goes through, where that is all its work: few are one thread's, for a team takes longer
// to begin than they do. Others, products first of all, are work for all threads at any size.
template <typename Args>
int64_t simple_values(const Args&) {
  return std::numeric_limits<int64_t>::max();
}
// Of operations that are divided by rows: one row is one thread's, however long.
inline int64_t values_by_rows(int64_t rows, int64_t columns) { return rows <= 1 ? 0 : rows * columns; }
inline int64_t simple_values(const Embed& a) { return values_by_rows(a.out.rows, a.out.columns); }
inline int64_t simple_values(const GatherRows& a) { return values_by_rows(a.out.rows, a.out.columns); }
inline int64_t simple_values(const TakeRows& a) { return values_by_rows(a.out.rows, a.out.columns); }
inline int64_t simple_values(const RmsNorm& a) {
  const auto columns = std::max<int64_t>(1, static_cast<int64_t>(a.weight.size()));
  return values_by_rows(a.out.rows * a.out.columns / columns, columns);
}
inline int64_t simple_values(const Encode& a) { return values_by_rows(a.x.rows, a.x.columns); }
inline int64_t simple_values(const RopeAppend& a) {
  return values_by_rows(a.q.rows, a.q.columns + a.k.columns + a.v.columns);
}
inline int64_t simple_values(const GatedMul& a) { return a.out.rows * a.out.columns; }
inline int64_t simple_values(const AddBias& a) { return a.x.rows * a.x.columns; }
inline int64_t simple_values(const AddScaled& a) { return a.x.rows * a.x.columns; }
inline int64_t simple_values(const Scale& a) { return a.x.rows * a.x.columns; }
inline int64_t simple_values(const PlaceByExpert&) { return 0; }  // one thread counts them
inline int64_t simple_values(const TreeCombine& a) {
  return static_cast<int64_t>(a.nodes.size()) * a.out.rows * a.out.columns;
}
inline int64_t simple_values(const AddNorm& a) {
  return values_by_rows(a.sum.out.rows, (static_cast<int64_t>(a.sum.nodes.size()) + 1) * a.sum.out.columns);
}

struct Kernels {
  std::string_view level;       // "reference", "avx2", "avx512", "cuda-sm_80", part of the numerics fingerprint
  InputForms inputs;            // that its products take
  bool bf16_attention = false;  // Attention::bf16_products, where pages and heads allow
  bool warpgroups = false;      // BF16 and FP16 products of many rows are wgmma's (kernels/cuda/cuda_kernels.h)
  void (*embed)(const Launch&, const Embed&) = nullptr;
  void (*gather_rows)(const Launch&, const GatherRows&) = nullptr;
  void (*take_rows)(const Launch&, const TakeRows&) = nullptr;
  void (*rms_norm)(const Launch&, const RmsNorm&) = nullptr;
  void (*encode)(const Launch&, const Encode&) = nullptr;
  void (*matmul)(const Launch&, const MatMul&) = nullptr;
  void (*rope_append)(const Launch&, const RopeAppend&) = nullptr;
  void (*attention)(const Launch&, const Attention&) = nullptr;
  void (*gated_mul)(const Launch&, const GatedMul&) = nullptr;
  void (*gated_matmul)(const Launch&, const GatedMatMul&) = nullptr;
  void (*sum_squares)(const Launch&, const SumSquares&) = nullptr;
  void (*norm_by_squares)(const Launch&, const NormBySquares&) = nullptr;
  void (*add_bias)(const Launch&, const AddBias&) = nullptr;
  void (*add_scaled)(const Launch&, const AddScaled&) = nullptr;
  void (*scale)(const Launch&, const Scale&) = nullptr;
  void (*route)(const Launch&, const Route&) = nullptr;
  void (*place_by_expert)(const Launch&, const PlaceByExpert&) = nullptr;
  void (*expert_combine)(const Launch&, const ExpertCombine&) = nullptr;
  void (*tree_combine)(const Launch&, const TreeCombine&) = nullptr;
  void (*add_norm)(const Launch&, const AddNorm&) = nullptr;
  void (*sample)(const Launch&, const Sample&) = nullptr;
  void (*best_tokens)(const Launch&, const BestTokens&) = nullptr;
  void (*exp_sums)(const Launch&, const ExpSums&) = nullptr;
};

}  // namespace trireme
