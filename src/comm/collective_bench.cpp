#include "comm/collective_bench.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>

#include "base/bounded_call.h"
#include "comm/mpi_check.h"
#include "comm/tree_reduce.h"

namespace trireme {

namespace {

constexpr int kUnits = 32;  // as a layer of a usual model has (docs/concepts.md)
constexpr int kBatch = 20;  // calls between two looks at the clock
constexpr int64_t kColumns = 1024;

// Small whole numbers: every order of additions gives the same sum, so MPI's result can be compared, too.
float value_of(int unit, int64_t i) { return static_cast<float>((unit * 5 + i % 101) % 17); }

// The sizes of a run of both all-reduces of one result.
class Contest {
 public:
  Contest(Communicator& world, Collective& group, Device& device, const Kernels& kernels,
          std::span<const UnitRange> held, int64_t floats)
      : world_(world), rows_(floats / kColumns), reduce_(group, device, kernels, kUnits, held, kColumns, rows_) {
    UnitRange mine = held[static_cast<size_t>(world.rank())];
    roots_ = maximal_nodes(kUnits, mine);
    for (UnitRange root : roots_)
      for (int64_t i = 0; i < floats; i++) mine_.push_back(sum_of(root, i));
    for (int64_t i = 0; i < floats; i++) partial_.push_back(sum_of(mine, i));
    sent_ = result_ = residual_ = std::vector<float>(static_cast<size_t>(floats));
  }

  // Both write their input anew in every call, as a product would: else nothing would have to cross between the cores.
  void ours() {
    std::memcpy(reduce_.roots(), mine_.data(), mine_.size() * sizeof(float));
    reduce_.add_to({residual_.data(), rows_, kColumns});
  }
  void mpi() {
    std::memcpy(sent_.data(), partial_.data(), partial_.size() * sizeof(float));
    mpi_check(
        MPI_Allreduce(sent_.data(), result_.data(), static_cast<int>(sent_.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD),
        "MPI_Allreduce");
  }

  bool equal() {
    const BoundedCall bounded("all ranks in MPI_Allreduce", world_.waiter().deadline(), world_.waiter().end());
    std::fill(residual_.begin(), residual_.end(), 0.0f);
    ours();
    mpi();
    bool same = true;
    for (size_t i = 0; i < residual_.size(); i++) {
      float expected = sum_of({0, kUnits}, static_cast<int64_t>(i));
      same &= residual_[i] == expected && result_[i] == expected;
    }
    return world_.all_min(same) == 1;
  }

  // us a call of the slowest rank.
  template <typename Call>
  double time(const Call& call) {
    world_.barrier();
    const BoundedCall bounded("all ranks in MPI_Allreduce", world_.waiter().deadline(), world_.waiter().end());
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kBatch; i++) call();
    auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count();
    return static_cast<double>(world_.all_max(ns)) / kBatch / 1000;
  }

 private:
  static float sum_of(UnitRange range, int64_t i) {
    float sum = 0;
    for (int u = range.begin; u < range.end; u++) sum += value_of(u, i);
    return sum;
  }

  Communicator& world_;
  int64_t rows_;
  TreeReduce reduce_;
  std::vector<UnitRange> roots_;
  std::vector<float> mine_;     // [roots][rows, columns]
  std::vector<float> partial_;  // [rows, columns] of all my units, for MPI
  std::vector<float> sent_, result_, residual_;
};

double percentile(std::vector<double> times, double share) {
  std::sort(times.begin(), times.end());
  return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))];
}

}  // namespace

std::vector<CollectiveTiming> bench_collectives(Communicator& world, Fabric& fabric, Device& device,
                                                const Kernels& kernels, const std::vector<int64_t>& bytes,
                                                int repetitions) {
  std::vector<UnitRange> held;
  for (int r = 0; r < world.size(); r++) held.push_back({kUnits * r / world.size(), kUnits * (r + 1) / world.size()});
  std::vector<int> members(held.size());
  std::iota(members.begin(), members.end(), 0);
  std::vector<CollectiveTiming> rows;
  for (int64_t size : bytes) {
    int64_t floats = std::max(kColumns, size / 4 / kColumns * kColumns);
    auto group = fabric.collective(members, TreeReduce::window_bytes(kUnits, held, kColumns, floats / kColumns));
    Contest contest(world, *group, device, kernels, held, floats);
    CollectiveTiming row{group->transport(), world.size(), floats * 4};
    row.equal = contest.equal();
    std::vector<double> ours, mpi;
    for (int i = 0; i <= repetitions; i++) {  // the first warms up
      double a = contest.time([&] { contest.ours(); }), b = contest.time([&] { contest.mpi(); });
      if (i == 0) continue;
      ours.push_back(a);
      mpi.push_back(b);
    }
    row.median_us = percentile(ours, 0.5), row.p99_us = percentile(ours, 0.99);
    row.mpi_median_us = percentile(mpi, 0.5), row.mpi_p99_us = percentile(mpi, 0.99);
    row.equal = row.equal && contest.equal();
    rows.push_back(row);
  }
  return rows;
}

}  // namespace trireme
