#pragma once

#include <optional>
#include <string>

#include "plan/host_costs.h"
#include "topology/machine_cluster.h"

namespace trireme {

// Where a host's calibration is kept: in the cache folder, by the model and number of its CPUs and the kernel level.
// "" without a cache folder.
std::string calibration_path(const Host& host, const std::string& level);

// Nothing where nobody has calibrated such a host. Throws Error(bad_data) for a file that is none.
std::optional<HostCosts> read_calibration(const Host& host, const std::string& level);
// The same for the CPUs that the ranks of a map may use, of its first host. Nothing, and `why_not` says why, where that
// is of fewer cores than they have.
std::optional<HostCosts> find_calibration(const Machine& machine, const std::string& level, std::string& why_not);
// The planner's view of CPUs of which that is the calibration: its rates, of as many cores as ranks may use.
Cluster calibrated_cluster(const Machine& machine, const HostCosts& costs);
// Throws Error(cannot_create) without a cache folder.
void write_calibration(const Host& host, const std::string& level, const HostCosts& costs);

}  // namespace trireme
