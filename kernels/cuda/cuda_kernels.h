#pragma once

#include "kernels/kernels.h"

namespace trireme {

// The CUDA filling of the table: every operation is enqueued on Launch::stream (part 0 does all of it, other parts
// nothing) and has the reference's bits. All that an operation points at must be memory that the GPU reaches; trees,
// contractions and lists of nodes are read by the host while it enqueues.
void fill_cuda(Kernels& kernels);

// What it takes at most: units of a contraction or experts held, nodes of a combine; and 512 values of a head.
inline constexpr int kMostTreeUnits = 2048, kMostNodes = 128;

}  // namespace trireme
