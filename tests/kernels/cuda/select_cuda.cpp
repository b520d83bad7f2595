// In place of kernels/select.cpp: the tests of all levels, for the reference and CUDA.
#include "select_cuda.h"

#include "kernels/cpu/levels.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/select.h"
#ifdef TRIREME_ON_GPU
#include "on_gpu.h"
#else
#include "testkit/cuda/cuda_emulation.h"
#endif

namespace trireme {

namespace {

int architecture() {
#ifdef TRIREME_ON_GPU
  return gpu_architecture();
#else
  return 90;
#endif
}

}  // namespace

bool has_warpgroups() { return architecture() == 90; }

// What others are compared with is a level of kernels_test, once is enough.
std::vector<std::string_view> available_levels() { return {"cuda"}; }

Kernels select_kernels(std::string_view level) {
  Kernels kernels;
  fill_reference(kernels);
  if (!level.starts_with("cuda")) return kernels;
  fill_cuda(kernels, architecture());
  const bool warpgroups = level == "cuda by warpgroups";
  if (warpgroups) take_warpgroups(kernels);
#ifdef TRIREME_ON_GPU
  wait_after_each(kernels);
#else
  cuda::take_turns(!warpgroups);  // which only GPUs with one size of shared memory have
#endif
  return kernels;
}

}  // namespace trireme
