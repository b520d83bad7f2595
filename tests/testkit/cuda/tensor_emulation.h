#pragma once

// What the emulated tensor cores multiply; how threads meet for it is cuda_emulation.cpp's.
#include <cstdint>

namespace trireme::cuda {

// A lane's part of a wgmma product that is waited for: enqueue_tiles() has its arguments.
void multiply_rows(bool f16, const unsigned (&weights)[4], uint64_t rows, float (*sums)[4], int tiles);

}  // namespace trireme::cuda
