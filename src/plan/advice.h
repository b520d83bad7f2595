#pragma once

#include <string>
#include <vector>

#include "plan/layouts.h"

namespace trireme {

// Answers to what people ask of every plan, a line each, with figures; only where the machine makes it a question: the
// smallest TP that fits with its cache, quantizing before adding devices, TP against replicas, PP against TP over
// hosts, interactive against offline.
std::vector<std::string> give_advice(const Plan& plan, const ModelWork& model, const Cluster& cluster,
                                     const EngineProfile& profile, const PlanRequest& request);

// The layout nearest to fitting when none does, and what would: for the error.
std::string nearest_fit(const Plan& plan, const ModelWork& model, const Cluster& cluster, const EngineProfile& profile,
                        const PlanRequest& request);

}  // namespace trireme
