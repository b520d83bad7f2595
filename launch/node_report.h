#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launch/environment.h"
#include "launch/options.h"

namespace trireme {

// What `doctor` wants to know of one rank and its machine: {"host", "rank", "cpus", "machine", "versions": {...},
// "limits": {...}, "launcher", "levels"}. options: of versions().
nlohmann::ordered_json node_report(const Options& options, const Environment& environment);

// What is wrong with the nodes taken together, or merely unwise; one line each, none when all is well.
std::vector<std::string> findings(const std::vector<nlohmann::ordered_json>& reports, const Environment& environment);

}  // namespace trireme
