#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "topology/machine.h"

namespace trireme {

// A machine as JSON: {"trireme_machine": 1, "hosts": [...], "ranks": [...], "measured_links": [...]}, fields named as
// the members of Host, Gpu, HostNic, Rank and MeasuredLink, what is unknown left out. CPUs of a host are [id, core,
// NUMA node, package] each, or, where somebody writes them by hand, hwloc's description of them: "package:2 numa:1
// core:8 pu:2". What a rank sends of itself when probes are gathered is one of these, too.
nlohmann::ordered_json machine_to_json(const Machine& machine);
// Whatever stands there: counts and numbers are checked against each other. Throws Error(bad_data) naming `source` and
// the field.
Machine machine_from_json(const nlohmann::json& json, const std::string& source);
// Whether this JSON is one, and not another description of a machine (Cluster::from_json).
bool is_machine_json(const nlohmann::json& json);

}  // namespace trireme
