#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "plan/layouts.h"

namespace trireme {

// What a plan answers, and what others near it are made of. The referenced outlive this.
struct PlanQuestion {
  const ModelWork& model;
  const Cluster& cluster;
  const EngineProfile& profile;
  const PlanRequest& request;
  // The model as the same question has it with other weights; keys and values may change with them.
  std::function<std::unique_ptr<ModelWork>(Precision)> at_precision;

  Plan plan() const { return plan_layouts(model, cluster, profile, request); }
  bool is_free() const { return request.degrees == Degrees{}; }
  // The precisions below the model's that the device computes, or that save reading; the nearest first.
  std::vector<Precision> lower_precisions() const;
};

}  // namespace trireme
