#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

// The inner loops that an instruction set implements, on raw pointers: their files are compiled for a newer CPU than
// the rest of the program, so they may not emit an inline function that others could share. cpu/drive.h cuts an
// operation into such pieces, on code for every CPU.

inline constexpr int kMaxTreeDepth = 16;  // sums on the stack of a product; 2^15 units

// A group of activations whose largest |x| is below this is coded as zeros: 127 / largest must not overflow.
inline constexpr float kSmallestGroup = 0x1p-100f;

// Rows of x times one panel of a packed matrix (64 outputs of f32, f16, bf16 and e4m3, 32 of q8 and q4).
struct PanelProduct {
  const std::byte* x = nullptr;     // [rows] activations of the panel's form
  int64_t x_stride = 0;             // bytes
  const std::byte* w = nullptr;     // the panel
  const std::byte* next = nullptr;  // the panel after it in this thread's work, to be prefetched; or null
  const int* columns = nullptr;     // [units] as in Contraction
  const int* pops = nullptr;        // [units]
  int units = 0;
  int zero = 0;
  bool has_minimum = false;
  int scale_columns = 0;  // that share a scale: 16 or 32; of e4m3 those of a unit, or more
  float* y = nullptr;     // [roots][rows, outputs]
  int64_t y_stride = 0;   // floats
  int64_t root_stride = 0;
  int64_t rows = 0;
  int outputs = 0;  // of the panel that exist; the others are padding and not written
};

inline constexpr int kAttendHeadDim = 256, kAttendQueries = 48;  // the most that attend() takes
inline constexpr int kAttendBlock = 32, kAttendPartition = 16;   // positions; blocks: kernels.h's

// Queries of consecutive rows of a span and of all heads that share a KV head, over all they see or some partitions.
struct AttendTile {
  const float* q = nullptr;  // [rows] at q_stride, [heads, head_dim]
  float* out = nullptr;      // [rows] at out_stride, [heads, head_dim]
  int64_t q_stride = 0, out_stride = 0;
  int rows = 0, heads = 0;  // rows * heads <= kAttendQueries
  int64_t first_position = 0;
  const int32_t* block_table = nullptr;
  const std::byte* k = nullptr;  // this KV head in block 0; blocks follow at block_bytes
  const std::byte* v = nullptr;
  int64_t block_bytes = 0, partition_floats = 0;  // the latter of a partition's `results`
  int64_t first_block = 0, end_block = 0;         // that a row sees something of
  bool bf16 = false;
  int head_dim = 0;
  float scale = 0, softcap = 0;  // softcap 0: none
  int64_t window = 0;            // positions that a row sees at most; 0: all
  // In place of outputs, by partition: [queries, head_dim in whole vectors] values, [queries] largest scores and sums.
  float* results = nullptr;
  // The first block of what this thread attends to next, to be prefetched; null: nothing.
  const std::byte *next_k = nullptr, *next_v = nullptr;
};

struct SampleLoop {
  const float* logits = nullptr;  // [tokens]
  float temperature = 0;
  uint64_t key = 0;
  int32_t position = 0, first_token = 0, tokens = 0;
  float before_logit = 0;    // RankBound
  int32_t before_token = 0;  // likewise
  float* score = nullptr;    // the best; untouched when none
  int32_t* token = nullptr;  // -1 when none or a NaN
};

// A unit of ExpSums.
struct ExpSumLoop {
  const float* x = nullptr;  // [columns]
  int32_t columns = 0, first_token = 0;
  float temperature = 1, before_logit = 0;
  int32_t before_token = 0;
  float* largest = nullptr;
  float* sum = nullptr;
};

// The places of x from `from` on whose value is above `least`, ascending, as far as there is room for 16 more.
struct PlacesAbove {
  const float* x = nullptr;  // [count]
  int32_t from = 0, count = 0;
  float least = 0;
  int32_t* places = nullptr;  // [room]
  int32_t room = 0;           // 16 at least
};
struct PlacesFound {
  int32_t places = 0;
  int32_t next = 0;  // where to go on
};

// A run of columns of TreeCombine.
struct CombineRun {
  const float* const* nodes = nullptr;  // [count]
  const int* pops = nullptr;            // [count]
  int count = 0;
  int64_t offset = 0;  // of the run in every node, floats
  int64_t columns = 0;
  bool accumulate = false;
  float* out = nullptr;  // [columns]
};

// A row's leaves on their way to one root of ExpertCombine, those that are not zero; a run of columns.
struct ExpertRun {
  const float* const* leaves = nullptr;  // [count], at the run's first column
  const float* weights = nullptr;        // [count]
  const int* pops = nullptr;             // [count]
  int count = 0;
  bool add_zero = false;  // there were zeros among the leaves: once added, wherever, no sum stays -0
  int64_t columns = 0;
  float* out = nullptr;  // [columns]
};

struct InnerLoops {
  void (*panel_f32)(const PanelProduct&);
  void (*panel_f16)(const PanelProduct&);
  void (*panel_bf16)(const PanelProduct&);
  void (*panel_e4m3)(const PanelProduct&);
  void (*panel_q8)(const PanelProduct&);
  void (*panel_q4)(const PanelProduct&);
  void (*panel_q8_f32)(const PanelProduct&);  // scales and minimums in FP32
  void (*panel_q4_f32)(const PanelProduct&);
  void (*attend)(const AttendTile&);
  void (*join_partitions)(const AttendTile&, int partitions);  // what attend() left of all of them, to outputs
  void (*norm_row)(const float* x, const float* weight, int64_t columns, float epsilon, float* out);
  void (*encode_bf16_row)(const float* x, int64_t columns, int64_t padded, uint16_t* out);  // zeros after the columns
  void (*encode_int8_row)(const float* x, int64_t columns, void* out);                      // Int8Group of kernels.h
  float (*sum_squares)(const float* x, int64_t columns);                                    // in the lanes of a norm
  void (*scale_by)(const float* x, const float* weight, float factor, int64_t columns,
                   float* out);                                    // (x * factor) * weight
  void (*softmax_row)(const float* x, int64_t columns, float* p);  // [columns], as Route has it
  void (*silu_mul_row)(const float* gate, const float* up, int64_t columns, float* out);
  void (*gelu_mul_row)(const float* gate, const float* up, int64_t columns, float* out);
  void (*add_row)(const float* y, int64_t columns, float* x);                      // x += y
  void (*add_scaled_row)(const float* y, float scale, int64_t columns, float* x);  // x += y * scale
  void (*scale_row)(float scale, float softcap, int64_t columns, float* x);
  void (*rotate_head)(const float* cosine, const float* sine, int half, float* x);  // [2 * half], in place
  void (*combine_run)(const CombineRun&);
  void (*combine_experts)(const ExpertRun&);
  void (*sample_row)(const SampleLoop&);
  PlacesFound (*places_above)(const PlacesAbove&);
  void (*exp_sum)(const ExpSumLoop&);
};

extern const InnerLoops avx2_loops, avx512_loops;

}  // namespace trireme
