#pragma once

#include <span>
#include <vector>

#include "base/log.h"
#include "comm/communicator.h"
#include "launch/options.h"
#include "launch/timings.h"
#include "plan/host_costs.h"

namespace trireme {

// What steps take this rank.
struct RankCosts {
  StepCosts beside;  // while all other ranks work, too
  StepCosts lone;    // while they wait: of rank 0 beside others, else of no meaning
};

// One round: steps of made-up models on so many threads a rank as `options` say. Collective over `world`, the ranks of
// one host.
Timings time_steps(const Options& options, Communicator& world, Log& log);

// What timings by `ranks` ranks of this host say of a step's parts.
RankCosts rank_costs_of(const Timings& timings, int ranks);

// Of keys and values that stay in this host's caches from one step to the next.
double cached_bytes();

}  // namespace trireme
