#pragma once

#include <memory>
#include <optional>

#include "checkpoint/weight_source.h"
#include "launch/environment.h"
#include "launch/options.h"
#include "plan/layouts.h"

namespace trireme {

// What is planned for: the model behind -m, --config or --shape, at --precision.
struct PlannedModel {
  std::unique_ptr<WeightSource> source;  // of -m, whose table of tensors has the sizes
  std::unique_ptr<ModelWork> work;
  std::string foreign_type;             // PublishedModel's
  std::optional<Precision> convert_to;  // --precision, where the model has another

  // What the command line names goes before what other places do. Throws Error(usage) when the model is not named once.
  static PlannedModel of(const Options& options, const EngineProfile& profile);
};

// Where it is planned for, and for which engine.
struct PlannedMachine {
  Cluster cluster;        // --machine: a description, a file (launch/machine_file.h), or this host
  EngineProfile profile;  // --engine-profile

  // Ours on this host's CPUs has what `bench --calibrate` measured there, and is what auto takes where somebody has
  // calibrated; elsewhere auto is `published`. On CPUs ours has as many sequences in flight as a run has by default,
  // where nobody says how many.
  static PlannedMachine of(const Options& options, const Environment& environment);
};

// Throws Error(usage) for lengths that contradict each other.
PlanRequest plan_request(const Options& options);

}  // namespace trireme
