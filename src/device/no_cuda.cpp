// A build without CUDA.
#include "base/error.h"
#include "device/cuda.h"

namespace trireme {

CudaProbe probe_cuda() { return {0, "this build has no CUDA backend; leave --device out to run on the CPU"}; }

std::string cuda_build() { return "none"; }

std::string_view cuda_code() { return ""; }

std::string cuda_unfit(int, std::string_view) { return ""; }

std::unique_ptr<CudaDevice> CudaDevice::open(int, std::chrono::milliseconds, bool, Watchdog::End, bool) {
  fail(ExitCode::configuration, "--device cuda: {}", probe_cuda().missing);
}

}  // namespace trireme
