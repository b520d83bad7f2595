#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "comm/communicator.h"
#include "launch/bench_report.h"
#include "launch/options.h"

namespace trireme {

// As many threads as options.threads, by default one a CPU of this process, pinned where there are as many CPUs.
std::unique_ptr<ThreadPool> bench_team(const Options& options);

// Each prints its figures on rank 0. Collective over `world`.
void bench_kernels(const Options& options, Communicator& world);
void bench_limits(const Options& options, Communicator& world);
void bench_load(const Options& options, Communicator& world);
void bench_collective(const Options& options, Communicator& world);
void bench_decode(const Options& options, Communicator& world);
void bench_prefill(const Options& options, Communicator& world);
void bench_quality(const Options& options, Communicator& world);

}  // namespace trireme
