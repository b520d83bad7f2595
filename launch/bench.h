#pragma once

#include "comm/communicator.h"
#include "launch/bench_report.h"
#include "launch/options.h"

namespace trireme {

// Each prints its figures on rank 0. Collective over `world`.
void bench_limits(const Options& options, Communicator& world);
void bench_load(const Options& options, Communicator& world);
void bench_collective(const Options& options, Communicator& world);
void bench_decode(const Options& options, Communicator& world);
void bench_prefill(const Options& options, Communicator& world);
void bench_quality(const Options& options, Communicator& world);

}  // namespace trireme
