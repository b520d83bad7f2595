#pragma once

// Few queries that see many positions: blocks of threads share the partitions, a run of them each. Every one leaves
// what each of its partitions says in the workspace, and the last to come joins all, one after the other: who that is
// cannot show. How many blocks there are follows from the number of queries alone, because a graph is replayed when
// these have come to see more; blocks for which no partition is left end at once.
#include "kernels/cuda/attend_block.cuh"
#include "kernels/cuda/split.cuh"

namespace trireme::cuda {

struct Shares {
  int blocks = 1;            // of threads, that may share
  int partitions = 0;        // of some queries, at most: what there is room for. Where they see more, a block has all
  int64_t stride = 0;        // floats of a partition
  float* results = nullptr;  // [query sets, partitions, stride]
  int* arrived = nullptr;    // [query sets] zeros before and after
};

// query_sets: each some queries that one block could take, of whose results a partition takes `stride` floats.
inline Shares shares_of(const Launch& launch, int64_t query_sets, int64_t stride) {
  const int64_t blocks = kSms / query_sets;
  if (launch.workspace.empty() || blocks < 2) return {};
  const int64_t partitions = (std::ssize(launch.workspace) - kWorkspaceCountBytes) / (query_sets * stride * 4);
  return {static_cast<int>(blocks), static_cast<int>(partitions), stride,
          reinterpret_cast<float*>(launch.workspace.data() + kWorkspaceCountBytes),
          reinterpret_cast<int*>(launch.workspace.data())};
}

// One of the blocks that share some queries.
class Share {
 public:
  __device__ Share(const Shares& shares, int query_set, int block)
      : shares_(shares), query_set_(query_set), block_(block) {}

  // This one, or, unless `allowed`, all of it for the first.
  __device__ Share where(bool allowed) const {
    Share share = *this;
    share.allowed_ = allowed;
    return share;
  }
  // The partitions that are this block's.
  __device__ PartitionRun of(const PartitionRun& all) const {
    const int blocks = blocks_of(all);
    if (block_ >= blocks) return {};
    return {all.first + all.size() * block_ / blocks, all.first + all.size() * (block_ + 1) / blocks};
  }
  // Where query n's result of a partition is left.
  __device__ float* result(const PartitionRun& all, int partition, int n, int floats) const {
    const int64_t place = int64_t{query_set_} * shares_.partitions + partition - all.first;
    return shares_.results + place * shares_.stride + n * floats;
  }
  __device__ bool comes_last(const PartitionRun& all) const {
    return cuda::comes_last(shares_.arrived + query_set_, blocks_of(all));
  }

 private:
  __device__ int blocks_of(const PartitionRun& all) const {
    return !allowed_ || all.size() > shares_.partitions ? 1 : min(shares_.blocks, all.size());
  }

  const Shares& shares_;
  int query_set_, block_;
  bool allowed_ = true;
};

}  // namespace trireme::cuda
