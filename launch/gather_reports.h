#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "launch/environment.h"

namespace trireme {

// Every rank's report, in rank order, on rank 0; empty on the others. Without a launcher: the one report, and no MPI.
std::vector<nlohmann::ordered_json> gather_reports(const nlohmann::ordered_json& mine, const Environment& environment);

}  // namespace trireme
