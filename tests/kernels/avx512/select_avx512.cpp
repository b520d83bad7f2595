// In place of kernels/select.cpp: the tests of all levels, for the reference and the AVX-512 loops with their
// instructions emulated. The few products without loops of their own take AVX2's.
#include "kernels/cpu/levels.h"
#include "kernels/select.h"

namespace trireme {

std::vector<std::string_view> available_levels() {
  if (!__builtin_cpu_supports("avx2")) return {"reference"};
  return {"avx512"};  // the reference is a level of kernels_test, once is enough
}

Kernels select_kernels(std::string_view level) {
  Kernels kernels;
  fill_reference(kernels);
  if (level == "avx512") fill_avx512(kernels);
  kernels.level = level;
  return kernels;
}

}  // namespace trireme
