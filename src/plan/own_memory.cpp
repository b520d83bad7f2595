#include "plan/own_memory.h"

#include <algorithm>

#include "comm/channels.h"
#include "comm/group_collective.h"
#include "engine/runner.h"
#include "engine/sampler.h"
#include "model/rope.h"

namespace trireme {

namespace {

// A rank's own two windows, and mirrors of those that others cannot show it.
int64_t window_bytes(size_t bytes, int remote_members) {
  const size_t mirrors = static_cast<size_t>(remote_members) * 2 * SharedGroupMemory::padded(bytes);
  return static_cast<int64_t>(SharedGroupMemory::bytes(bytes) + mirrors);
}

}  // namespace

Workspace workspace_of(const ModelConfig& config, const UnitTable& units, const RankShape& rank,
                       const StepLimits& limits, int64_t slots, int64_t positions) {
  const StagePlace& place = rank.place;
  const size_t hop = Runner::hop_bytes(config, limits);
  const size_t sums = Stage::window_bytes(config, units, place.tp, limits),
               results = place.last ? Sampler::window_bytes(config, units, place.tp, limits) : 0;
  Workspace w;
  w.device = Stage::scratch_bytes(config, units, place, limits) + static_cast<int64_t>(hop);
  if (place.last)
    w.device +=
        static_cast<int64_t>(Sampler::logits_bytes(RankShare::of(config, units, place.tp, place.tp_rank), limits));
  for (const RopeConfig& rope : config.ropes) w.device += Rope::bytes(rope, positions);
  w.device += rank.on_gpu ? kGpuWorkspaceBytes : kWorkspaceBytes;
  // The arrays that a step brings and leaves: what a GPU has a copy of, and what it has none of.
  const int64_t staged = Runner::staged_bytes(config, limits, slots);
  w.host = staged + Runner::table_bytes(config, slots);
  if (!place.last) w.host += static_cast<int64_t>(SharedRing::bytes(hop, rank.pp + 1));
  if (!rank.on_gpu) {
    w.device += w.host;
    w.host = 0;
    w.windows = window_bytes(std::max(sums, results), rank.remote_members);
    return w;
  }
  w.device += staged;
  // The windows of a GPU's group lie in the host's memory, where its ranks met, and on the GPUs if they reach each
  // other. Results and hops pass through the host.
  if (place.tp > 1 && rank.remote_members == 0) w.windows = window_bytes(sums, 0);
  w.host += window_bytes(sums, rank.remote_members) + (place.last ? window_bytes(results, rank.remote_members) : 0);
  w.host += static_cast<int64_t>(hop) * (!place.first + !place.last);
  return w;
}

}  // namespace trireme
