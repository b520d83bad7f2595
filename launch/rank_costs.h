#pragma once

#include <span>
#include <vector>

#include "base/log.h"
#include "comm/communicator.h"
#include "launch/options.h"
#include "launch/stopwatch.h"
#include "plan/host_costs.h"

namespace trireme {

// What steps take this rank.
struct RankCosts {
  StepCosts beside;  // while all other ranks work, too
  StepCosts lone;    // while they wait: of rank 0 beside others, else of no meaning
};

// Of all that is timed, in its order.
using Timings = std::vector<StepSeconds>;

// One round: steps of made-up models on so many threads a rank as `options` say. Collective over `world`, the ranks of
// one host.
Timings time_steps(const Options& options, Communicator& world, Log& log);

// Of each timing the mean over rounds but for its shortest and its longest: of three rounds at least. A core that
// shares its time with others has two speeds, and a run sees both; what an interruption lengthens, it does not.
Timings mean_of(std::span<const Timings> rounds);

// What timings by `ranks` ranks of this host say of a step's parts.
RankCosts rank_costs_of(const Timings& timings, int ranks);

// Of keys and values that stay in this host's caches from one step to the next.
double cached_bytes();

}  // namespace trireme
