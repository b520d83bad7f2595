#pragma once

#include "kernels/cuda/attend_block.cuh"

namespace trireme::cuda {

// Attention on tensor cores for spans of many rows: those that are not is_few() for `few` queries.
void prompt_attention(const Launch& launch, const Attention& a, int few);

}  // namespace trireme::cuda
