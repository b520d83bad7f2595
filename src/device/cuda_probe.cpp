#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "device/cuda.h"

namespace trireme {

namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

}  // namespace

CudaProbe probe_cuda() {
  int gpus = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&gpus);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (error == cudaSuccess && gpus > 0) return {gpus, ""};
  if (driver == 0) return {0, "this machine has no NVIDIA driver; leave --device out to run on the CPU"};
  if (error == cudaErrorInsufficientDriver)
    return {0, fmt::format("the driver runs CUDA {}, this build is of {}: update the driver", version_text(driver),
                           version_text(runtime))};
  if (error == cudaSuccess || error == cudaErrorNoDevice)
    return {0, "no GPU is visible to this process (CUDA_VISIBLE_DEVICES, the job's --gpus)"};
  return {0, fmt::format("the driver reports: {}", cudaGetErrorString(error))};
}

std::string cuda_build() {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  return fmt::format("{}, for sm_80, sm_90a and later", version_text(runtime));
}

}  // namespace trireme
