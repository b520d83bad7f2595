#include "kernels/cpu/levels.h"

#include "kernels/cpu/drive.h"

namespace trireme {

namespace {

struct Avx512 {
  static constexpr PanelLoop panel_f32 = panel_f32_avx512;
  static constexpr PanelLoop panel_bf16 = panel_bf16_avx512;
  static constexpr PanelLoop panel_q8 = panel_q8_avx512;
  static constexpr PanelLoop panel_q4 = panel_q4_avx512;
};

}  // namespace

void fill_avx512(Kernels& kernels) {
  kernels.matmul = drive_matmul<Avx512>;
}

}  // namespace trireme
