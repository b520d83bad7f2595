#include "kernels/select.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu/levels.h"

namespace trireme {

namespace {

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
bool always() { return true; }

struct Rung {
  std::string_view level;
  bool (*available)();
  void (*fill)(Kernels&);
};
constexpr Rung kRungs[] = {
    // lowest first
    {"reference", always, fill_reference},
    {"avx2", has_avx2, fill_avx2},
    {"avx512", has_avx512, fill_avx512},
};

}  // namespace

std::vector<std::string_view> available_levels() {
  std::vector<std::string_view> levels;
  for (const Rung& rung : kRungs)
    if (rung.available()) levels.push_back(rung.level);
  return levels;
}

Kernels select_kernels(std::string_view level) {
  auto levels = available_levels();
  must(std::find(levels.begin(), levels.end(), level) != levels.end(), "the kernel level is available");
  Kernels kernels;
  for (const Rung& rung : kRungs) {
    if (rung.available()) rung.fill(kernels);
    if (rung.level == level) break;
  }
  kernels.level = level;
  return kernels;
}

}  // namespace trireme
