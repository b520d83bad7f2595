#pragma once

#include <string>
#include <vector>

#include "plan/layouts.h"
#include "plan/question.h"

namespace trireme {

// Answers to what people ask of every plan, a line each, with figures; only where the machine makes it a question: the
// smallest TP that fits with its cache, quantizing before adding devices, TP against replicas, PP against TP over
// hosts, interactive against offline.
std::vector<std::string> give_advice(const Plan& plan, const PlanQuestion& question);

}  // namespace trireme
