#pragma once

#include <vector>

#include "plan/engine_profile.h"
#include "plan/model_work.h"
#include "topology/cluster.h"

namespace trireme {

// Bytes of the rank with the least room for keys and values, on a device of its own, where sequences may come to have
// so many positions as was asked.
struct MemoryPlan {
  double device_bytes = 0;  // what a process can have
  double weight_bytes = 0;
  double workspace_bytes = 0;  // activations of the largest step, exchange windows, communicators, libraries
  double sequence_bytes = 0;   // keys and values of one sequence
  double margin_bytes = 0;     // left alone
  double cache_bytes = 0;      // for keys and values; below 0: what is missing

  bool weights_fit() const { return cache_bytes >= 0; }
  double sequences() const { return cache_bytes > 0 ? cache_bytes / sequence_bytes : 0; }  // that there is room for
};

// stages: ModelWork::stages(tp, pp). step_rows: tokens of this engine's largest step. context: positions of a sequence.
MemoryPlan plan_memory(const ModelWork& model, const std::vector<StageWork>& stages, const EngineProfile& profile,
                       const Cluster& cluster, int64_t step_rows, double context);

}  // namespace trireme
