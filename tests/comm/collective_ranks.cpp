// Our all-reduce beside MPI's, in turn in one run. Prints a row a size; fails when a sum is wrong. Times are for
// reading
// (`trireme bench collective` is the benchmark): a busy machine decides nothing here.
#include <cstdlib>

#include "comm/collective_bench.h"
#include "device/cpu_device.h"
#include "kernels/select.h"
#include "tests/comm/ranks.h"

using namespace trireme;
using namespace trireme::testing;

int main(int argc, char** argv) {
  int host_ranks = argc > 1 ? std::atoi(argv[1]) : 0;
  return run_ranks(argc, argv, std::chrono::seconds(60), [&](Ranks& ranks) {
    auto fabric = Fabric::create(ranks.world, host_ranks);
    CpuDevice device(1, {});
    Kernels kernels = select_kernels(available_levels().back());
    auto rows =
        bench_collectives(ranks.world, *fabric, device, kernels, {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}, 30);
    ranks.test("sums are right, at every size, before and after", [&] {
      for (const auto& row : rows) {
        if (ranks.world.rank() == 0)
          std::printf("       %-7s %8lld B: %8.2f us (p99 %8.2f), MPI_Allreduce %8.2f us (p99 %8.2f), ratio %.2f\n",
                      row.transport.c_str(), static_cast<long long>(row.bytes), row.median_us, row.p99_us,
                      row.mpi_median_us, row.mpi_p99_us, row.median_us / row.mpi_median_us);
        ranks.check(row.equal, "sum");
      }
    });
  });
}
