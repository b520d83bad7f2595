#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "device/device.h"

namespace trireme {

// GPUs that this process may use (CUDA_VISIBLE_DEVICES obeyed). None: `missing` says why and what to do, in one line.
struct CudaProbe {
  int gpus = 0;
  std::string missing;
};
CudaProbe probe_cuda();

// A GPU: operations and copies are enqueued on one stream, in their order. Pinned memory is the host's, page-locked;
// the GPU reads and writes it over its link.
class CudaDevice : public Device {
 public:
  // What its kernels take at most: units of a contraction, or experts; values of a head.
  static constexpr int kMostUnits = 2048, kMostHeadDim = 512;

  // gpu: from 0 on, of those that the process sees. wait: how long synchronize() may wait for the GPU. Throws
  // Error(configuration) when the GPU cannot be used.
  static std::unique_ptr<CudaDevice> open(int gpu, std::chrono::nanoseconds wait);

  virtual const Kernels& kernels() const = 0;
  virtual std::string address() const = 0;      // on the PCI bus: equal where ranks of a host share a GPU
  virtual int64_t available_bytes() const = 0;  // free now
};

}  // namespace trireme
