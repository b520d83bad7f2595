#pragma once

#include "base/thread_pool.h"
#include "device/device.h"
#include "topology/machine_cluster.h"

namespace trireme {

// What this machine can do at most, measured now on a team of threads: the yardstick beside every figure of a
// benchmark. Each number is the best of a few short samples; 0: the CPU has no such instruction.
struct Limits {
  double read_gbps = 0;    // 10^9 bytes/s, streaming reads of an array far larger than the caches
  double fma_gflops = 0;   // FP32 multiply-adds, two operations each
  double bf16_gflops = 0;  // vdpbf16ps
  double int8_gops = 0;    // vpdpbusd; on AVX2 vpmaddubsw and vpaddw
};

// What a plan takes of them, of CPUs that have so many times the threads.
CpuArithmetic cpu_arithmetic(const Limits& limits, double times = 1);

Limits probe_limits(ThreadPool& pool);
Limits probe_arithmetic(ThreadPool& pool);  // without the reading, which takes 512 MiB and most of the time
double probe_read_gbps(ThreadPool& pool);   // alone: to be asked again around each sample, for it drifts

// 10^9 bytes/s that a device's memory gives and takes while an array far larger than its caches is copied inside it:
// bytes read and bytes written. Takes 512 MiB of it for the time.
double probe_copy_gbps(Device& device);

}  // namespace trireme
