#pragma once

#include <string>

#include "plan/layouts.h"
#include "plan/question.h"

namespace trireme {

// What would fit where nothing of `plan` does, for the error: each a single change of what was asked, the smallest of
// its kind, and planned, so that it fits and keeps what was promised.
std::string nearest_fit(const Plan& plan, const PlanQuestion& question);

}  // namespace trireme
