#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "topology/device_sheet.h"

namespace trireme {

// The data sheet of a device by the name that drivers and kernels have for it ("NVIDIA H100 80GB HBM3", "AMD EPYC 9654
// 96-Core Processor") or by its own. Of the A100's two memories the bytes tell which, or else the name.
std::optional<DeviceSheet> find_gpu_sheet(std::string_view name, uint64_t memory_bytes = 0);
std::optional<DeviceSheet> find_cpu_sheet(std::string_view name);

}  // namespace trireme
