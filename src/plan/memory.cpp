#include "plan/memory.h"

#include <algorithm>

#include "plan/collectives.h"
#include "plan/own_memory.h"

namespace trireme {

namespace {

// Of this engine, libraries and all.
double own_workspace(const ModelWork& model, const StageWork& stage, int pp, const Cluster& cluster,
                     int64_t step_rows) {
  const StepLimits limits = step_limits(step_rows, !cluster.device.cpu);
  const GroupPlace group = GroupPlace::of(cluster, stage.place.tp);
  const RankShape rank{stage.place, pp, group.size - group.per_host(), !cluster.device.cpu};
  const Workspace own = workspace_of(model.config(), model.units(), rank, limits, default_sequences(rank.on_gpu),
                                     model.config().max_positions);
  return static_cast<double>(own.on_device() + kRankBytes);
}

// Stages whose ranks work in as much memory: all but the first and the last.
bool works_alike(const StageWork& a, const StageWork& b) {
  return a.place.tp_rank == b.place.tp_rank && a.place.first == b.place.first && a.place.last == b.place.last;
}

MemoryPlan of_stage(const ModelWork& model, const StageWork& stage, double workspace_bytes,
                    const EngineProfile& profile, const Cluster& cluster, double context) {
  MemoryPlan m;
  m.device_bytes = cluster.device.memory_bytes;
  m.weight_bytes = stage.weight_bytes;
  m.workspace_bytes = workspace_bytes;
  const double position_bytes = stage.layers * model.position_bytes(stage.kv_heads);
  const double kept = model.kept_positions(context, profile);
  m.sequence_bytes = kept * position_bytes;
  // Until a step ends it has the keys and values of all its rows, of those that it then drops, too.
  m.workspace_bytes += (1 - kept / context) * profile.chunk_tokens * position_bytes;
  // The rest of a host's memory is room enough for this engine's workspace.
  const double beside = profile.own() && cluster.device.cpu ? 0 : m.workspace_bytes;
  const double rest = m.device_bytes - m.weight_bytes - beside;
  const double share = cluster.device.cpu ? profile.host_cache_share : profile.cache_share;
  // Of the rest, as TensorRT-LLM has it; vLLM leaves a share of the whole GPU. Tried: on published rows whose weights
  // fill most of a GPU that is off by a half and more, and elsewhere the two are one.
  m.cache_bytes = rest > 0 ? rest * share : rest;
  m.margin_bytes = std::max(0.0, rest) * (1 - share);
  return m;
}

}  // namespace

MemoryPlan plan_memory(const ModelWork& model, const std::vector<StageWork>& stages, const EngineProfile& profile,
                       const Cluster& cluster, int64_t step_rows, double context) {
  MemoryPlan least;
  double workspace_bytes = profile.workspace_bytes;
  for (size_t s = 0; s < stages.size(); s++) {
    if (profile.own() && (s == 0 || !works_alike(stages[s], stages[s - 1])))
      workspace_bytes = own_workspace(model, stages[s], static_cast<int>(stages.size()), cluster, step_rows);
    const MemoryPlan m = of_stage(model, stages[s], workspace_bytes, profile, cluster, context);
    const bool fewer = !least.weights_fit() || !m.weights_fit() ? m.cache_bytes < least.cache_bytes
                                                                : m.sequences() < least.sequences();
    if (s == 0 || fewer) least = m;
  }
  return least;
}

}  // namespace trireme
