#pragma once

#include "kernels/cpu/inner.h"
#include "kernels/cpu/levels.h"

namespace trireme {

// Columns [first, first + count) of a row, count of them at x: whole groups, or up to the row's end.
template <const InnerLoops& kLoops>
void encode_run(const float* x, const Activations& out, int64_t row, int64_t first, int64_t count) {
  std::byte* to = out.data + row * out.row_bytes;
  const int64_t padded = first + count == out.columns ? out.row_bytes / 2 - first : count;
  if (out.form == ActivationForm::bf16)
    kLoops.encode_bf16_row(x, count, padded, reinterpret_cast<uint16_t*>(to) + first);
  if (out.form == ActivationForm::int8)
    kLoops.encode_int8_row(x, count, reinterpret_cast<Int8Group*>(to) + first / kInputGroup);
  if (out.form == ActivationForm::f16) encode_f16_row(x, count, padded, reinterpret_cast<F16*>(to) + first);
  if (out.form == ActivationForm::e4m3)
    encode_e4m3_row(x, count, reinterpret_cast<E4M3Group*>(to) + first / kInputGroup);
}

}  // namespace trireme
