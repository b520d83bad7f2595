#pragma once

#include <string>

#include "plan/layouts.h"

namespace trireme {

// What a layout's tokens wait for most: "weights do not fit", "KV cache", "queueing", "prefill", "weights", "cache
// reading", "arithmetic", "layers", "all-reduce", "hops", "fixed".
std::string limiting_factor(const LayoutPlan& layout);

// Fills the reasons of all layouts, each beside the chosen one.
void give_reasons(Plan& plan, const PlanQuestion& question);

// Whole, or of what is small two digits: "1978", "3.1", "0.62".
std::string short_number(double x);

// "TP 4 x PP 2 x DP 2"; ones are left out, but "1 device" where all are one.
std::string layout_name(const Degrees& degrees);

}  // namespace trireme
