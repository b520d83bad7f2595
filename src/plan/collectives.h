#pragma once

#include "topology/cluster.h"

namespace trireme {

// Where the ranks of a tensor-parallel group stand: consecutive devices, so on `hosts` hosts.
struct GroupPlace {
  int size = 1;
  int hosts = 1;
  int per_host() const { return (size + hosts - 1) / hosts; }
  static GroupPlace of(const Cluster& cluster, int size);
};

// Microseconds of an all-reduce of `bytes`, seen by a rank, launched from a CUDA graph. best: the fastest that anybody
// measured there, for bounds; usual: what engines have, which differs across hosts and without peer access.
double best_all_reduce_us(const Cluster& cluster, const GroupPlace& group, double bytes);
double usual_all_reduce_us(const Cluster& cluster, const GroupPlace& group, double bytes);

// Microseconds to hand `bytes` to the next pipeline stage, whose ranks are `stride` devices further.
double hop_us(const Cluster& cluster, int stride, double bytes);

}  // namespace trireme
