#pragma once

#include "kernels/kernels.h"

namespace trireme {

// Makes every operation of a CUDA table wait for the GPU, since tests read what it wrote at once. Throws what the GPU
// reports.
void wait_after_each(Kernels& kernels);

int gpu_architecture();  // 80: sm_80

}  // namespace trireme
