#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include "device/cuda.h"
#include "launch/environment.h"

namespace trireme {

// What the GPU's benchmarks share.

inline constexpr int64_t kPastCaches = int64_t{512} << 20;  // bytes that no cache of today holds
inline constexpr int64_t kAlignment = 256;                  // of weights, as cudaMalloc has it

struct Timing {
  double seconds = 0, spread = 0;  // the median; all samples lie within this part of it
};

// How long a figure may take, about, and of how many samples it is at the least.
struct Sampling {
  double seconds = 0.25;
  int fewest = 3;
};

// By the host's clock around operations that follow each other in a graph, as in a step, so that neither launches nor
// the wait count. operation(i): i counts up, so that it can take other memory each time. key: of this device's graphs.
template <typename Operation>
Timing time_of(CudaDevice& gpu, int64_t key, const Sampling& sampling, const Operation& operation) {
  using Clock = std::chrono::steady_clock;
  constexpr int kMostSamples = 9, kMostCalls = 64;
  const auto seconds_of = [&](int count) {
    const auto start = Clock::now();
    gpu.repeat(key, [&] {
      for (int i = 0; i < count; i++) operation(i);
    });
    gpu.synchronize();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  operation(0);
  gpu.synchronize();
  const auto start = Clock::now();
  operation(1);
  gpu.synchronize();
  const double once = std::chrono::duration<double>(Clock::now() - start).count();
  const int count = std::clamp(static_cast<int>(sampling.seconds / kMostSamples / once), 1, kMostCalls);
  for (int warm = 0; warm < 2; warm++) seconds_of(count);  // by itself, then as a graph
  std::vector<double> samples;
  for (double spent = 0;
       std::ssize(samples) < sampling.fewest || (std::ssize(samples) < kMostSamples && spent < sampling.seconds);) {
    samples.push_back(seconds_of(count) / count);
    spent += samples.back() * count;
  }
  std::sort(samples.begin(), samples.end());
  const double median = samples[samples.size() / 2];
  return {median, (samples.back() - samples.front()) / median};
}

// The first GPU, as the program would open it by its environment (docs/cuda.md).
inline std::unique_ptr<CudaDevice> open_to_measure(const Environment& environment) {
  constexpr std::chrono::seconds kWait{30};  // less than whoever calls us has
  return CudaDevice::open(0, kWait, environment.value("TRIREME_CUDA_GRAPHS") != "off", Watchdog::end_here,
                          environment.early_start());
}

// Figures without graphs hold the host's time, so whoever reads them must know.
inline void tell_of_graphs(const CudaDevice& gpu) {
  if (!gpu.graphs_refused().empty()) fmt::print("{}\n", gpu.graphs_refused());
}

}  // namespace trireme
