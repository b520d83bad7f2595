#pragma once

#include <memory>

#include "checkpoint/weight_source.h"
#include "launch/options.h"
#include "plan/layouts.h"

namespace trireme {

// What is planned for: the model behind -m, --config or --shape, at --precision.
struct PlannedModel {
  std::unique_ptr<WeightSource> source;  // of -m, whose table of tensors has the sizes
  std::unique_ptr<ModelWork> work;

  // Throws Error(usage) when the model is not named once.
  static PlannedModel of(const Options& options, const EngineProfile& profile);
};

// --engine-profile. Ours on this host's CPUs has what `bench --calibrate` measured there, and is what auto takes where
// somebody has calibrated; elsewhere auto is `published`.
EngineProfile planned_profile(const Options& options);

// --machine: a description, a JSON file of one, or this host.
Cluster planned_cluster(const Options& options);

// Throws Error(usage) for lengths that contradict each other.
PlanRequest plan_request(const Options& options);

}  // namespace trireme
