// The CUDA kernels for the emulated GPU. What an operation points at must be memory that a GPU reaches when it is
// enqueued; a real one would stop with an illegal address, or read what it must not.
#include "testkit/cuda/cuda_emulation.h"
// Then the kernels, as they are.
#define fill_cuda fill_unchecked_cuda
#include "kernels/cuda/attention.cu"
#include "kernels/cuda/experts.cu"
#include "kernels/cuda/matmul.cu"
#include "kernels/cuda/meet.cu"
#include "kernels/cuda/norms.cu"
#include "kernels/cuda/prompt_attention.cu"
#include "kernels/cuda/rope.cu"
#include "kernels/cuda/rows.cu"
#include "kernels/cuda/sampling.cu"
#include "kernels/cuda/stream_matmul.cu"
#include "kernels/cuda/tile_matmul.cu"
#include "kernels/cuda/warpgroup_matmul.cu"
#undef fill_cuda

#include "testkit/cuda/emulated_gpu.h"

namespace trireme {

namespace {

using testkit::gpu_reaches;

void reach(const void* data, int64_t bytes) {
  must(gpu_reaches(data, static_cast<size_t>(bytes)), "an operation's memory is within the GPU's reach");
}
template <typename T>
void reach(std::span<T> values) {
  reach(values.data(), static_cast<int64_t>(values.size_bytes()));
}
template <typename T>
void reach(const MatrixView<T>& x) {
  if (x.rows > 0) reach(x.data, ((x.rows - 1) * x.stride + x.columns) * static_cast<int64_t>(sizeof(T)));
}
void reach(const Activations& x) {
  if (x.data) reach(x.data, x.rows * x.row_bytes);
}
void reach(const PackedView& w) { reach(w.data, packed_bytes(w)); }
void reach(const KvPages& pages) { reach(pages.k, 1), reach(pages.v, 1); }  // how many blocks there are it does not say
void reach(const RopeTable& rope) {
  if (rope.rotary > 0) reach(rope.cosine, 1), reach(rope.sine, 1);
}

void reach(const Embed& a) { reach(a.tokens), reach(a.table), reach(a.out); }
void reach(const GatherRows& a) {
  reach(a.matrices), reach(a.places), reach(a.out);
  for (int64_t i = 0; i < a.out.rows; i++) reach(a.row(i), a.out.columns * 4);
}
void reach(const TakeRows& a) { reach(a.x), reach(a.rows), reach(a.out); }
void reach(const RmsNorm& a) { reach(a.x), reach(a.weight), reach(a.out), reach(a.encoded); }
void reach(const Encode& a) { reach(a.x), reach(a.out); }
void reach(const MatMul& a) {
  reach(a.x), reach(a.w), reach(a.experts.ends);
  if (!a.experts.ends.empty()) reach(a.w.data, (std::ssize(a.experts.ends) - 1) * a.w.to_next + packed_bytes(a.w));
  const int64_t roots = a.contraction->program.roots;
  reach(a.bias);
  reach(a.y, a.x.rows == 0 ? 0 : ((roots - 1) * a.root_stride + (a.x.rows - 1) * a.y_stride + a.w.n) * 4);
}
void reach(const RopeAppend& a) {
  reach(a.q), reach(a.k), reach(a.v), reach(a.angles), reach(a.slots), reach(a.rope), reach(a.pages);
}
void reach(const Attention& a) {
  reach(a.q), reach(a.spans), reach(a.kv_head_of), reach(a.pages), reach(a.out), reach(a.encoded);
}
void reach_tables(std::span<const AttentionSpan> spans) {
  for (const AttentionSpan& span : spans)
    reach(span.block_table, (span.first_position + span.rows + kBlockTokens - 1) / kBlockTokens * 4);
}
void reach(const GatedMul& a) { reach(a.gate), reach(a.up), reach(a.out), reach(a.encoded); }
void reach(const GatedMatMul& a) { reach(a.product), reach(a.out), reach(a.encoded); }
void reach(const SumSquares& a) { reach(a.x), reach(a.out); }
void reach(const NormBySquares& a) { reach(a.x), reach(a.weight), reach(a.sum_squares); }
void reach(const AddBias& a) { reach(a.x), reach(a.bias); }
void reach(const AddScaled& a) { reach(a.x), reach(a.y); }
void reach(const Scale& a) { reach(a.x); }
void reach(const Route& a) { reach(a.logits), reach(a.experts), reach(a.weights); }
void reach(const PlaceByExpert& a) { reach(a.experts), reach(a.ends), reach(a.row_of), reach(a.place_of); }
void reach(const ExpertCombine& a) {
  reach(a.y), reach(a.experts), reach(a.weights), reach(a.place_of);
  const int64_t roots = a.program->roots;
  reach(a.out, a.rows == 0 || roots == 0 ? 0 : ((roots - 1) * a.root_stride + a.rows * a.y.columns) * 4);
}
void reach(const TreeCombine& a) {
  for (const float* node : a.nodes) reach(MatrixView<const float>(node, a.out.rows, a.out.columns, a.stride));
  reach(a.out);
}
void reach(const AddNorm& a) { reach(a.sum), reach(a.norm); }
void reach(const Sample& a) {
  reach(a.rows), reach(a.out), reach(a.parts);
  for (const SampleRow& row : a.rows) reach(row.logits, int64_t{a.tokens} * 4);
}
void reach(const BestTokens& a) {
  reach(a.rows), reach(a.out);
  for (const float* row : a.rows) reach(row, int64_t{a.tokens} * 4);
}
void reach(const ExpSums& a) {
  reach(a.rows), reach(a.out);
  for (const ExpSumRow& row : a.rows) reach(row.logits, int64_t{a.tokens} * 4);
}

Kernels unchecked;

template <auto kOperation>
struct Checked;
template <typename Args, void (*Kernels::*kOperation)(const Launch&, const Args&)>
struct Checked<kOperation> {
  static void call(const Launch& launch, const Args& args) {
    reach(args);
    if constexpr (std::is_same_v<Args, Attention>)  // which may be on their way, by a copy that is enqueued
      testkit::before_next_kernel([spans = args.spans] { reach_tables(spans); });
    (unchecked.*kOperation)(launch, args);
  }
};

template <auto... kOperations>
void check(Kernels& kernels) {
  ((kernels.*kOperations = Checked<kOperations>::call), ...);
}

}  // namespace

void fill_cuda(Kernels& kernels, int architecture) {
  fill_unchecked_cuda(unchecked, architecture);
  kernels = unchecked;
  cuda::enqueue_on_stream = testkit::enqueue_kernel;
  check<&Kernels::embed, &Kernels::gather_rows, &Kernels::take_rows, &Kernels::rms_norm, &Kernels::encode,
        &Kernels::matmul, &Kernels::rope_append, &Kernels::attention, &Kernels::gated_mul, &Kernels::gated_matmul,
        &Kernels::sum_squares, &Kernels::norm_by_squares, &Kernels::add_bias, &Kernels::add_scaled, &Kernels::scale,
        &Kernels::route, &Kernels::place_by_expert, &Kernels::expert_combine, &Kernels::tree_combine,
        &Kernels::add_norm, &Kernels::sample, &Kernels::best_tokens, &Kernels::exp_sums>(kernels);
}

}  // namespace trireme
