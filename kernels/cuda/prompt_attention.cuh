#pragma once

#include "kernels/kernels.h"

namespace trireme::cuda {

// Attention on tensor cores for spans of many rows: those that are not is_few().
void prompt_attention(const Launch& launch, const Attention& a);

}  // namespace trireme::cuda
