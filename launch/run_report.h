#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/pace.h"
#include "job/progress.h"
#include "launch/environment.h"
#include "launch/session.h"
#include "topology/gpu_monitor.h"

namespace trireme {

// What a run says of itself at its end.

// The mean over all ranks of where their time went. Collective.
PhaseSeconds mean_phases(Session& session, double total);
// What steps of this rank's replica took, beside what the planner says of them.
StepSpeeds speeds_of(const Session& session, const Pace& pace);
// "ranks" of status.json: memory, GPU and motion of each. Collective.
nlohmann::ordered_json all_ranks(Session& session, const Environment& environment, const GpuMonitor& gpu);
// A line of the summary: the memory of the rank that is furthest from its plan.
std::string memory_summary(const nlohmann::ordered_json& ranks);
// To what a rank says of itself, where there is something to say.
void add_gpu(nlohmann::ordered_json& rank, const GpuMonitor& gpu);

}  // namespace trireme
