#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "plan/model_work.h"
#include "topology/cluster.h"
#include "topology/placement.h"

namespace trireme {

enum class Objective : uint8_t { latency, throughput, cost };
Objective get_objective(std::string_view name);  // throws Error(usage)

// What is asked of a machine. 0: not asked.
struct PlanRequest {
  Degrees degrees;
  double input_tokens = 0, output_tokens = 0;  // of a request
  double context = 0;                          // positions that a sequence may come to need
  double position = 0;                         // where sequences stand while they decode, a mean
  double batch = 0;                            // sequences in flight on a replica; 0: as many as the objective likes
  double rate = 0;                             // requests a second, of all replicas together
  double documents = 0;                        // that there are: no replica has more in flight than its part of them
  Objective objective = Objective::throughput;
  double slo_ttft_ms = 0, slo_tpot_ms = 0;
  double gpu_hour = 0;  // price of one device for an hour; of a host where ranks divide its CPUs

  bool has_promises() const { return slo_ttft_ms > 0 || slo_tpot_ms > 0; }
};

// What a plan answers, and what others near it are made of. The referenced outlive this.
struct PlanQuestion {
  const ModelWork& model;
  const Cluster& cluster;
  const EngineProfile& profile;
  const PlanRequest& request;
  // The model as the same question has it with other weights; keys and values may change with them. Empty where nobody
  // wants advice.
  std::function<std::unique_ptr<ModelWork>(Precision)> at_precision;

  PlanQuestion with(const ModelWork& other) const { return {other, cluster, profile, request, at_precision}; }
  PlanQuestion with(const Cluster& other) const { return {model, other, profile, request, at_precision}; }
  PlanQuestion with(const PlanRequest& other) const { return {model, cluster, profile, other, at_precision}; }
  bool is_free() const { return request.degrees == Degrees{}; }
  // The precisions below the model's that the device computes, or that save reading; the nearest first.
  std::vector<Precision> lower_precisions() const;
};

}  // namespace trireme
