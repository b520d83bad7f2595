#pragma once

#include "kernels/kernels.h"

namespace trireme {

// The CUDA filling of the table: every operation is enqueued on Launch::stream (part 0 does all of it, other parts
// nothing) and has the reference's bits. All that an operation points at must be memory that the GPU reaches; trees,
// contractions and lists of nodes are read by the host while it enqueues. architecture: 80 for sm_80.
void fill_cuda(Kernels& kernels, int architecture);

// Lets warpgroups multiply many rows by BF16 or FP16 (PTX: wgmma), which only sm_90a has, in place of warps (mma.sync).
// The bits stay those of few rows if the GPU adds 16 products alike in both: whoever takes it looks
// (src/device/warpgroups.h).
void take_warpgroups(Kernels& kernels);

// Ranks of a group, each on a GPU of its own, that wait for each other in the order of their streams.
struct Meet {
  std::span<uint32_t* const> places;  // [ranks] a page of each rank's GPU memory, which all reach; zeros at first
  int rank = 0;
};
// All that was enqueued before is done and seen by every rank when what is enqueued after it begins. Each rank enqueues
// equally many.
void enqueue_meet(const Launch& launch, const Meet& meet);
inline constexpr int kMostRanksMeet = 64;

// What it takes at most: units of a contraction or experts held, nodes of a combine; and 512 values of a head.
inline constexpr int kMostTreeUnits = 2048, kMostNodes = 128;

}  // namespace trireme
