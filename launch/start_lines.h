#pragma once

#include <string>
#include <vector>

#include "launch/plan_input.h"

namespace trireme {

// The lines that start a run as a layout was planned: bare and under Slurm; before them the one that converts the
// model, where it was planned in another precision than it has. INPUT, OUT.jsonl, MODEL and SOURCE stand for what the
// user has to name.
std::vector<std::string> start_lines(const LayoutPlan& layout, const PlannedModel& model, const Cluster& cluster,
                                     const Options& options, const PlanRequest& request);

// A word as a shell reads it: in quotes where it has to be.
std::string shell_word(const std::string& word);

}  // namespace trireme
