#pragma once

#include <cstdint>

#include "device/device.h"
#include "kernels/kernels.h"

namespace trireme {

// A word of numbers, whichever of FP32, FP16, BF16 and E4M3 it stands for: finite, of both signs, some powers of two
// about 1 (in BF16 from 2^-7 to 2). random: any bits.
constexpr uint32_t word_of_numbers(uint32_t random) { return (random & 0x83fe83fe) | 0x3c003c00; }
// Such words all over the memory, for zeros and numbers alike cost a GPU less power, and so less time. Repeats every
// MiB.
void fill_with_numbers(Device& device, Buffer& memory);

// 10^9 operations/s of a product of 8192 rows, columns and outputs in BF16 by a device's library: what it can reach,
// the best of a few. fast: CudaDevice::fast_kernels(). Takes 512 MiB of the device for the time.
double probe_product_gflops(Device& device, const Kernels& fast);

}  // namespace trireme
