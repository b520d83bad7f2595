#pragma once

#include "kernels/cpu/inner.h"

namespace trireme {

void panel_f32_avx512(const PanelProduct& p);
void panel_f16_avx512(const PanelProduct& p);
void panel_bf16_avx512(const PanelProduct& p);
void panel_q8_avx512(const PanelProduct& p);
void panel_q4_avx512(const PanelProduct& p);

}  // namespace trireme
