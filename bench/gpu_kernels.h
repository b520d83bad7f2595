#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/gpu_timing.h"
#include "device/cuda.h"
#include "launch/probe_products.h"

namespace trireme {

struct Measured {
  double bandwidth = 0;  // bytes/s
  double flops = 0;      // 0: unknown
};

// What all of gpu_kernels has.
struct KernelBench {
  const Kernels& reference;
  ThreadPool& pool;  // the reference's
  std::function<std::unique_ptr<CudaDevice>()> open;
  Measured limits;
  bool small = false;  // shows that it works
  Sampling sampling;
};

// Finite numbers of every form, nowhere the same twice.
inline std::vector<uint32_t> some_numbers(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> words((bytes + 3) / 4);
  for (uint32_t& word : words) word = word_of_numbers(static_cast<uint32_t>(random()));
  return words;
}

// The GPU's copy of values of the host, and the host's of the GPU's.
template <typename T>
Buffer on_gpu(CudaDevice& gpu, const std::vector<T>& values) {
  Buffer host(values.size() * sizeof(T), "numbers");
  std::memcpy(host.data(), values.data(), host.bytes());
  return gpu.upload(std::move(host), "numbers");
}
template <typename T>
std::vector<T> on_host(CudaDevice& gpu, const void* data, int64_t count) {
  const Buffer seen = gpu.allocate_pinned(static_cast<size_t>(count) * sizeof(T), "numbers");
  gpu.copy(seen.data(), data, seen.bytes());
  gpu.synchronize();
  return {seen.as<T>(), seen.as<T>() + count};
}
template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// |a - expected| / |expected|.
double distance(const std::vector<float>& a, const std::vector<float>& expected);

// In BF16: one position more for sequences of 2048, and a prompt of so many; its last rows are near the reference's.
void time_attention(const KernelBench& bench);
// Gate and up of all experts of Qwen3 30B-A3B in BF16, whose rows are those of each expert's product alone.
void time_experts(const KernelBench& bench);

}  // namespace trireme
