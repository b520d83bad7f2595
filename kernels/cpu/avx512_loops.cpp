// The lanes come first, the loops over them after.
// clang-format off
#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/avx2_panels.h"
#include "kernels/cpu/avx512_panels.h"
#include "kernels/elementary.h"
#include "kernels/random.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/attend_loop.h"
// clang-format on

namespace trireme {

constexpr InnerLoops avx512_loops = {.panel_f32 = panel_f32_avx512,
                                     .panel_f16 = panel_f16_avx512,
                                     .panel_bf16 = panel_bf16_avx512,
                                     .panel_e4m3 = panel_e4m3_avx2,  // no loops of their own yet
                                     .panel_q8 = panel_q8_avx512,
                                     .panel_q4 = panel_q4_avx512,
                                     .panel_q8_f32 = panel_q8_f32_avx2,  // likewise
                                     .panel_q4_f32 = panel_q4_f32_avx2,
                                     .attend = attend,
                                     .join_partitions = join_partitions,
                                     .norm_row = norm_row,
                                     .encode_bf16_row = encode_bf16_row,
                                     .encode_int8_row = encode_int8_row,
                                     .sum_squares = sum_squares,
                                     .scale_by = scale_by,
                                     .softmax_row = softmax_row,
                                     .silu_mul_row = silu_mul_row,
                                     .gelu_mul_row = gelu_mul_row,
                                     .add_row = add_row,
                                     .add_scaled_row = add_scaled_row,
                                     .scale_row = scale_row,
                                     .rotate_head = rotate_head,
                                     .combine_run = combine_run,
                                     .combine_experts = combine_experts,
                                     .sample_row = sample_row,
                                     .places_above = places_above,
                                     .exp_sum = exp_sum};

}  // namespace trireme
