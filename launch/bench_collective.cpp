#include "base/error.h"
#include "comm/collective.h"
#include "comm/collective_bench.h"
#include "device/cpu_device.h"
#include "kernels/select.h"
#include "launch/bench.h"

namespace trireme {

namespace {

constexpr int kCallsPerRepeat = 1000;

}  // namespace

// Our reduce along the unit tree beside Open MPI's MPI_Allreduce of the same floats, in the same run.
void bench_collective(const Options& options, Communicator& world) {
  if (options.device != "cpu")
    fail(ExitCode::usage, "bench collective measures ranks on CPUs; leave --device {} out", options.device);
  auto fabric = Fabric::create(world);
  CpuDevice device(1, {});
  Kernels kernels = select_kernels(available_levels().back());
  auto timings = bench_collectives(world, *fabric, device, kernels, {options.bytes},
                                   static_cast<int>(options.repeats) * kCallsPerRepeat);
  for (const CollectiveTiming& t : timings) {
    if (!t.equal)
      fail(ExitCode::internal, "internal error: an all-reduce of {} bytes over {} gave a wrong sum; please report it",
           t.bytes, t.transport);
    if (world.rank() != 0) continue;
    // A rank reads every other's whole contribution at most: (ranks - 1) * bytes.
    double gbps = static_cast<double>(t.bytes) * (t.ranks - 1) / t.median_us / 1e3;
    print_figure({"all-reduce",
                  "us",
                  {t.median_us},
                  gbps,
                  0,
                  "GB/s",
                  {{"bytes", t.bytes},
                   {"p99_us", t.p99_us},
                   {"ranks", t.ranks},
                   {"transport", t.transport},
                   {"mpi_allreduce_us", t.mpi_median_us},
                   {"mpi_allreduce_p99_us", t.mpi_p99_us}}},
                 options);
  }
}

}  // namespace trireme
