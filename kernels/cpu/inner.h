#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

// The inner loops that an instruction set implements, on raw pointers: their files are compiled for a newer CPU than the
// rest of the program, so they may not emit an inline function that others could share. cpu/drive.h cuts an operation
// into such pieces, on code for every CPU.

inline constexpr int kMaxTreeDepth = 16;  // sums on the stack of a product; 2^15 units

// Rows of x times one panel of a packed matrix (64 outputs of f32 and bf16, 32 of q8 and q4).
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
  float* y = nullptr;               // [roots][rows, outputs]
  int64_t y_stride = 0;             // floats
  int64_t root_stride = 0;
  int64_t rows = 0;
  int outputs = 0;                  // of the panel that exist; the others are padding and not written
};
using PanelLoop = void (*)(const PanelProduct&);

void panel_f32_avx512(const PanelProduct& p);
void panel_bf16_avx512(const PanelProduct& p);
void panel_q8_avx512(const PanelProduct& p);
void panel_q4_avx512(const PanelProduct& p);

}  // namespace trireme
