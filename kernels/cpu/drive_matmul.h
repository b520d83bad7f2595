#pragma once

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/cpu/each_expert.h"
#include "kernels/cpu/encode_run.h"
#include "kernels/cpu/inner.h"
#include "kernels/cpu/levels.h"
#include "kernels/packed_layout.h"

namespace trireme {

// Cuts products into what inner loops take (kernels/cpu/drive.h): panels of outputs and blocks of rows.

// Rows that pass a panel together: their activations stay in the second-level cache while panels come and go.
inline constexpr int64_t kRowBlock = 256;

inline auto panel_loop(const InnerLoops& loops, const PackedView& w) {
  const bool f32_scales = w.scale_type == DType::f32;
  switch (w.form) {
    case PackedForm::f32:
      return loops.panel_f32;
    case PackedForm::f16:
      return loops.panel_f16;
    case PackedForm::bf16:
      return loops.panel_bf16;
    case PackedForm::e4m3:
      return loops.panel_e4m3;
    case PackedForm::q8:
      return f32_scales ? loops.panel_q8_f32 : loops.panel_q8;
    case PackedForm::q4:
    case PackedForm::f16_pairs:  // of GPUs, with the two below
    case PackedForm::bf16_rows:
    case PackedForm::e4m3_groups:
      break;
  }
  return f32_scales ? loops.panel_q4_f32 : loops.panel_q4;
}

inline bool has_loop(const MatMul& a) {
  using enum PackedForm;
  const bool no_panels = a.w.form == f16_pairs || a.w.form == bf16_rows || a.w.form == e4m3_groups;
  return a.contraction->max_depth <= kMaxTreeDepth && !no_panels;
}

// A product's panels by the loop of their form.
template <const InnerLoops& kLoops>
class Panels {
 public:
  explicit Panels(const MatMul& a) : a_(a), loop_(panel_loop(kLoops, a.w)), outputs_(panel_outputs(a.w.form)) {
    PackedView one = a.w;
    one.n = outputs_;
    bytes_ = packed_bytes(one);
  }
  int64_t count() const { return (a_.w.n + outputs_ - 1) / outputs_; }
  int64_t outputs() const { return outputs_; }  // of a panel

  // y: of the first of the rows and the panel's first output. next: the panel that follows, -1: none.
  void multiply(int64_t panel, Range rows, int64_t next, float* y, int64_t y_stride) const {
    const Contraction& c = *a_.contraction;
    const int64_t first = panel * outputs_, outputs = std::min(outputs_, a_.w.n - first);
    loop_({.x = a_.x.data + rows.begin * a_.x.row_bytes,
           .x_stride = a_.x.row_bytes,
           .w = a_.w.data + panel * bytes_,
           .next = next < 0 ? nullptr : a_.w.data + next * bytes_,
           .columns = c.columns.data(),
           .pops = c.program.pops.data(),
           .units = static_cast<int>(c.columns.size()),
           .zero = a_.w.zero,
           .has_minimum = a_.w.has_minimum,
           .scale_columns = a_.w.scale_columns,
           .y = y,
           .y_stride = y_stride,
           .root_stride = a_.root_stride,
           .rows = rows.end - rows.begin,
           .outputs = static_cast<int>(outputs)});
    if (a_.bias.empty()) return;
    for (int64_t i = 0; i < rows.end - rows.begin; i++)
      kLoops.add_row(a_.bias.data() + first, outputs, y + i * y_stride);
  }

 private:
  const MatMul& a_;
  void (*loop_)(const PanelProduct&);
  int64_t outputs_, bytes_ = 0;
};

// f(panel, rows, whether the one after it follows) for this part: the same number of consecutive panels for each;
// those left over are split by rows, or dealt out when the rows are few.
template <typename F>
void each_panel(const Launch& launch, int64_t panels, int64_t rows, const F& f) {
  const int64_t each = panels / launch.parts, first = each * launch.part;
  for (int64_t row = 0; row < rows; row += kRowBlock)
    for (int64_t i = 0; i < each; i++) f(first + i, Range{row, std::min(rows, row + kRowBlock)}, i + 1 < each);
  for (int64_t panel = each * launch.parts; panel < panels; panel++) {
    const bool few = rows < 16 * launch.parts;
    Range mine = part_of(rows, launch.part, launch.parts);
    if (few) mine = panel % launch.parts == launch.part ? Range{0, rows} : Range{0, 0};
    for (int64_t row = mine.begin; row < mine.end; row += kRowBlock)
      f(panel, Range{row, std::min(mine.end, row + kRowBlock)}, false);
  }
}

template <const InnerLoops& kLoops>
void multiply(const Launch& launch, const MatMul& a) {
  const Panels<kLoops> panels(a);
  each_panel(launch, panels.count(), a.x.rows, [&](int64_t panel, Range rows, bool more) {
    panels.multiply(panel, rows, more ? panel + 1 : -1, a.y + rows.begin * a.y_stride + panel * panels.outputs(),
                    a.y_stride);
  });
}

template <const InnerLoops& kLoops>
void drive_matmul(const Launch& launch, const MatMul& a) {
  has_loop(a) ? each_expert(launch, a, multiply<kLoops>) : reference_matmul(launch, a);
}

// A panel of gate, that of up, then what they give: their sums stay in a core's cache.
template <const InnerLoops& kLoops>
void multiply_gated(const Launch& launch, const GatedMatMul& a) {
  const auto loop = a.activation == Activation::silu ? kLoops.silu_mul_row : kLoops.gelu_mul_row;
  const Panels<kLoops> panels(a.product);
  const int64_t half = panels.count() / 2, outputs = panels.outputs();
  float sums[kRowBlock * 2 * kWidePanel];
  each_panel(launch, half, a.product.x.rows, [&](int64_t panel, Range rows, bool more) {
    panels.multiply(panel, rows, half + panel, sums, 2 * outputs);
    panels.multiply(half + panel, rows, more ? panel + 1 : -1, sums + outputs, 2 * outputs);
    for (int64_t row = rows.begin; row < rows.end; row++) {
      const float* gate = sums + (row - rows.begin) * 2 * outputs;
      float values[kWidePanel];
      float* out = a.encoded.data ? values : a.out.row(row) + panel * outputs;
      loop(gate, gate + outputs, outputs, out);
      if (a.encoded.data) encode_run<kLoops>(out, a.encoded, row, panel * outputs, outputs);
    }
  });
}

template <const InnerLoops& kLoops>
void drive_gated_matmul(const Launch& launch, const GatedMatMul& a) {
  has_loop(a.product) ? each_expert(launch, a, multiply_gated<kLoops>) : reference_gated_matmul(launch, a);
}

}  // namespace trireme
