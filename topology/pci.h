#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// Where a device hangs. A VM, or a device that is on no PCI bus, shows less: what is not known stays empty.
struct PciPlace {
  std::vector<std::string> path;  // "0000:1b:00.0": addresses from the root bridge down to the device
  int numa = -1;                  // -1: unknown
};
// device: its folder in sysfs, or a link to it.
PciPlace find_pci_place(const std::filesystem::path& device);

// "0000:1b:00.0" as sysfs writes an address, from NVML's "00000000:1B:00.0", too; "": it is none.
std::string pci_address(std::string_view text);

}  // namespace trireme
