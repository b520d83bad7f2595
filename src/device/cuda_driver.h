#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <string>
#include <utility>

#include "base/bounded_call.h"
#include "base/error.h"

namespace trireme {

// The driver of one GPU, as its host asks it: any call may block for good, and is bounded; what fails says which GPU
// was asked for what.
class CudaDriver {
 public:
  // wait, end: how long a call may take, and how the job then ends (Watchdog).
  CudaDriver(std::string gpu, std::chrono::milliseconds wait, Watchdog::End end)
      : gpu_(std::move(gpu)),
        watchdog_(gpu_ + ", asked for ", wait, std::move(end), ExitCode::stuck, "its driver is stuck") {}

  // what: "a kernel"; outlives the call.
  template <typename F>
  cudaError_t call(const char* what, const F& f) {
    const Watchdog::Call bounded(watchdog_, what);
    return f();
  }
  template <typename F>
  void ask(const char* what, const F& f) {
    check(call(what, f), what);
  }
  void check(cudaError_t error, const char* what) const {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // told here; who goes on after it must not meet it again
    const ExitCode code = error == cudaErrorMemoryAllocation ? ExitCode::out_of_memory : ExitCode::internal;
    fail(code, "{}, asked for {}: {}", gpu_, what, cudaGetErrorString(error));
  }
  const std::string& gpu() const { return gpu_; }  // "GPU 0 (NVIDIA H200, sm_90)"

 private:
  std::string gpu_;
  Watchdog watchdog_;
};

}  // namespace trireme
