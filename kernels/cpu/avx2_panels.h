#pragma once

#include "kernels/cpu/inner.h"

namespace trireme {

void panel_f32_avx2(const PanelProduct& p);
void panel_f16_avx2(const PanelProduct& p);
void panel_bf16_avx2(const PanelProduct& p);
void panel_e4m3_avx2(const PanelProduct& p);
void panel_q8_avx2(const PanelProduct& p);
void panel_q4_avx2(const PanelProduct& p);
void panel_q8_f32_avx2(const PanelProduct& p);
void panel_q4_f32_avx2(const PanelProduct& p);

}  // namespace trireme
