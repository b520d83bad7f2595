#pragma once

#include <cstdint>

#include "device/device.h"
#include "kernels/kernels.h"

namespace trireme {

// Numbers without pattern, for zeros cost a GPU less power, and so less time. mask: bits that a word may have, so that
// all of its parts are finite numbers of the form they stand for. Repeats every MiB.
inline constexpr uint32_t kFiniteWords = 0x3f7e3f7e;  // FP32, FP16, BF16 and E4M3, all positive
void fill_with_numbers(Device& device, Buffer& memory, uint32_t mask = kFiniteWords);

// 10^9 operations/s of a product of 8192 rows, columns and outputs in BF16 by a device's library: what it can reach,
// the best of a few. fast: CudaDevice::fast_kernels(). Takes 512 MiB of the device for the time.
double probe_product_gflops(Device& device, const Kernels& fast);

}  // namespace trireme
