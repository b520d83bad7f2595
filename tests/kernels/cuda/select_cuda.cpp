// In place of kernels/select.cpp: the tests of all levels, for the reference and CUDA.
#include "kernels/cpu/levels.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/select.h"
#ifdef TRIREME_ON_GPU
#include "on_gpu.h"
#endif

namespace trireme {

std::vector<std::string_view> available_levels() { return {"reference", "cuda"}; }

Kernels select_kernels(std::string_view level) {
  Kernels kernels;
  fill_reference(kernels);
  if (level != "cuda") return kernels;
#ifdef TRIREME_ON_GPU
  fill_cuda(kernels, gpu_architecture());
  wait_after_each(kernels);
#else
  fill_cuda(kernels, 90);
#endif
  return kernels;
}

}  // namespace trireme
