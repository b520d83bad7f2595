#pragma once

#include "device/device.h"

namespace trireme {

// Whether products of many rows by warpgroups (wgmma) have the bits of those by warps (mma.sync), which few rows are
// multiplied with: NVIDIA documents no order in which tensor cores add, so that each GPU is asked. Multiplies numbers
// of near and far exponents, subnormals among them, in BF16 and in FP16, in both tables and in tiles of all shapes:
// 16384 sums of 432 and of 1008 columns, along two trees.
bool warpgroups_add_alike(Device& device, const Kernels& warps, const Kernels& warpgroups);

}  // namespace trireme
