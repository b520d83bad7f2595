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
  std::string name;       // "tree reduce", "tree reduce, sliced"
  std::string transport;
  int ranks = 0;
  int64_t bytes = 0;      // of the result
  int64_t moved_bytes = 0;  // that a rank reads of others' roots and sums
  double median_us = 0, p99_us = 0;          // of the slowest rank, each call
  double mpi_median_us = 0, mpi_p99_us = 0;  // MPI_Allreduce of the same floats
  bool equal = false;  // to the sum along the tree, on every rank
};

// Collective over all ranks of `world`, as one group. `bytes`: sizes of the result, FP32.
std::vector<CollectiveTiming> bench_collectives(Communicator& world, Fabric& fabric, Device& device, const Kernels& kernels,
                                                const std::vector<int64_t>& bytes, int repetitions);

}  // namespace trireme
