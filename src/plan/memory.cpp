#include "plan/memory.h"

#include <algorithm>
#include <cmath>

#include "plan/own_memory.h"

namespace trireme {

namespace {

double rope_bytes(const ModelConfig& c) {
  double bytes = 0;
  for (const RopeConfig& rope : c.ropes) bytes += static_cast<double>(c.max_positions) * rope.rotary * sizeof(float);
  return bytes;
}

// Of this engine: what its own allocators take (Stage::scratch_bytes and window_bytes, Rope, Runner::hop_bytes) and the
// rest of a rank.
double own_workspace(const ModelWork& model, const StageWork& stage, int64_t step_rows) {
  const StepLimits limits{step_rows, std::min(kLogitRows, step_rows)};
  const double hop = static_cast<double>(step_rows * model.config().hidden_size) * sizeof(float);
  const auto windows =
      static_cast<double>(2 * Stage::window_bytes(model.config(), model.units(), stage.place.tp, limits));
  return static_cast<double>(Stage::scratch_bytes(model.config(), model.units(), stage.place, limits)) + windows +
         rope_bytes(model.config()) + hop + static_cast<double>(kRankBytes);
}

MemoryPlan of_stage(const ModelWork& model, const StageWork& stage, const EngineProfile& profile,
                    const Cluster& cluster, int64_t step_rows) {
  MemoryPlan m;
  m.device_bytes = cluster.device.memory_bytes;
  m.weight_bytes = stage.weight_bytes;
  m.workspace_bytes = profile.own() ? own_workspace(model, stage, step_rows) : profile.workspace_bytes;
  m.position_bytes = stage.layers * model.position_bytes(stage.kv_heads);
  // The rest of a host's memory is room enough for this engine's workspace.
  const double beside = profile.own() && cluster.device.cpu ? 0 : m.workspace_bytes;
  const double rest = m.device_bytes - m.weight_bytes - beside;
  const double share = cluster.device.cpu ? profile.host_cache_share : profile.cache_share;
  m.cache_bytes = rest > 0 ? rest * share : rest;
  m.margin_bytes = std::max(0.0, rest) * (1 - share);
  return m;
}

}  // namespace

double MemoryPlan::sequences(double context) const { return std::floor(positions() / context); }

MemoryPlan plan_memory(const ModelWork& model, const std::vector<StageWork>& stages, const EngineProfile& profile,
                       const Cluster& cluster, int64_t step_rows) {
  MemoryPlan least;
  for (size_t s = 0; s < stages.size(); s++) {
    const MemoryPlan m = of_stage(model, stages[s], profile, cluster, step_rows);
    const bool fewer = !least.weights_fit() || !m.weights_fit() ? m.cache_bytes < least.cache_bytes
                                                                : m.positions() < least.positions();
    if (s == 0 || fewer) least = m;
  }
  return least;
}

}  // namespace trireme
