#pragma once

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/cpu/inner.h"
#include "kernels/cpu/levels.h"
#include "kernels/packed_layout.h"

namespace trireme {

// Cuts operations into the pieces that inner loops take, for a thread of the team. Compiled for every CPU; `Level` names
// the loops of an instruction set (cpu/levels.cpp).

// Rows that pass a panel together: their activations stay in the second-level cache while panels come and go.
inline constexpr int64_t kRowBlock = 256;

// Every part takes the same number of consecutive panels; panels left over are split by rows, or dealt out when the rows
// are few.
template <typename Level>
void drive_matmul(const Launch& launch, const MatMul& a) {
  const Contraction& c = *a.contraction;
  if (c.max_depth > kMaxTreeDepth) return reference_matmul(launch, a);
  bool wide = a.w.form == PackedForm::f32 || a.w.form == PackedForm::bf16;
  int64_t outputs = wide ? kWidePanel : kGroupPanel, panels = (a.w.n + outputs - 1) / outputs;
  int64_t panel_bytes = packed_bytes(a.w.form, a.w.has_minimum, outputs, a.w.k);
  PanelLoop loop = a.w.form == PackedForm::f32    ? Level::panel_f32
                   : a.w.form == PackedForm::bf16 ? Level::panel_bf16
                   : a.w.form == PackedForm::q8   ? Level::panel_q8
                                                  : Level::panel_q4;
  auto product = [&](int64_t panel, Range rows, bool more) {
    const std::byte* w = a.w.data + panel * panel_bytes;
    loop({.x = a.x.data + rows.begin * a.x.row_bytes,
          .x_stride = a.x.row_bytes,
          .w = w,
          .next = more ? w + panel_bytes : nullptr,
          .columns = c.columns.data(),
          .pops = c.program.pops.data(),
          .units = static_cast<int>(c.columns.size()),
          .zero = a.w.zero,
          .has_minimum = a.w.has_minimum,
          .y = a.y + rows.begin * a.y_stride + panel * outputs,
          .y_stride = a.y_stride,
          .root_stride = a.root_stride,
          .rows = rows.end - rows.begin,
          .outputs = static_cast<int>(std::min(outputs, a.w.n - panel * outputs))});
  };
  int64_t each = panels / launch.parts, first = each * launch.part;
  for (int64_t row = 0; row < a.x.rows; row += kRowBlock)
    for (int64_t i = 0; i < each; i++)
      product(first + i, {row, std::min(a.x.rows, row + kRowBlock)}, i + 1 < each);
  for (int64_t panel = each * launch.parts; panel < panels; panel++) {
    bool few = a.x.rows < 16 * launch.parts;
    Range rows = part_of(a.x.rows, launch.part, launch.parts);
    if (few) rows = panel % launch.parts == launch.part ? Range{0, a.x.rows} : Range{0, 0};
    for (int64_t row = rows.begin; row < rows.end; row += kRowBlock)
      product(panel, {row, std::min(rows.end, row + kRowBlock)}, false);
  }
}

}  // namespace trireme
