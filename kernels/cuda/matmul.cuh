#pragma once

#include "kernels/cuda/device.cuh"

namespace trireme::cuda {

// Products with BF16, E4M3 or codes on tensor cores. Both have the same bits.

// For few rows: weights stream through, a warp a unit. False: this tree needs more shared memory than a block has.
bool stream_matmul(const Launch& launch, const MatMul& a, const Units& units);

// For many rows: tiles of outputs and rows, a block walks all units. False: likewise, or the tree is too deep.
bool tile_matmul(const Launch& launch, const MatMul& a, const Units& units);

}  // namespace trireme::cuda
