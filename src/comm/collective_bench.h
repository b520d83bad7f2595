#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace trireme {

// One size of all-reduce: ours and MPI's, timed in turn in the same run, and whether both gave the sum.
struct CollectiveTiming {
  std::string transport;
  int ranks = 0;
  int64_t bytes = 0;                         // of the result
  bool equal = false;                        // both to the expected sum, on every rank, before and after
  double median_us = 0, p99_us = 0;          // a call of TreeReduce, at the slowest rank
  double mpi_median_us = 0, mpi_p99_us = 0;  // a call of MPI_Allreduce on as many floats
};

// Collective over all ranks of `world`, as one group. `bytes`: sizes of the result, FP32, rounded to rows of 4 KiB.
std::vector<CollectiveTiming> bench_collectives(Communicator& world, Fabric& fabric, Device& device,
                                                const Kernels& kernels, const std::vector<int64_t>& bytes,
                                                int repetitions);

}  // namespace trireme
