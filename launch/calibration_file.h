#pragma once

#include <optional>
#include <string>

#include "plan/host_costs.h"
#include "topology/host.h"

namespace trireme {

// Where a host's calibration is kept: in the cache folder, by the model and number of its CPUs and the kernel level.
// "" without a cache folder.
std::string calibration_path(const Host& host, const std::string& level);

// Nothing where nobody has calibrated such a host. Throws Error(bad_data) for a file that is none.
std::optional<HostCosts> read_calibration(const Host& host, const std::string& level);
// Throws Error(cannot_create) without a cache folder.
void write_calibration(const Host& host, const std::string& level, const HostCosts& costs);

}  // namespace trireme
