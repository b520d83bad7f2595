#pragma once

#include "base/log.h"
#include "comm/communicator.h"
#include "launch/options.h"
#include "plan/host_costs.h"

namespace trireme {

// What steps take this rank.
struct RankCosts {
  StepCosts beside;  // while all other ranks work, too
  StepCosts lone;    // while they wait: of rank 0 beside others, else of no meaning
};

// One round of measurements, of steps of made-up models on so many threads a rank as `options` say. Collective over
// `world`, the ranks of one host.
RankCosts measure_rank_costs(const Options& options, Communicator& world, Log& log);

// Of keys and values that stay in this host's caches from one step to the next.
double cached_bytes();

}  // namespace trireme
