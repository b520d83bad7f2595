#pragma once

#include <filesystem>
#include <string>

#include "testkit/temp_folder.h"

namespace trireme::testkit {

// A sysfs that is not there: devices in sys/devices, and the links to them that the kernel makes.
class FakeSysfs {
 public:
  std::string root() const { return folder_.path().string(); }
  std::string put(const std::string& path, const std::string& line) const { return folder_.put(path, line + "\n"); }

  // pci_path: "pci0000:17/0000:17:01.0/0000:18:00.0", below sys/devices. numa: -2 leaves the file out.
  void pci(const std::string& pci_path, int numa = -2) const {
    const std::string at = "sys/devices/" + pci_path;
    std::filesystem::create_directories(folder_.path() / at);
    if (numa != -2) put(at + "/numa_node", std::to_string(numa));
    link("sys/bus/pci/devices/" + std::filesystem::path(pci_path).filename().string(), at);
  }
  // port of an adapter in class infiniband at sys/devices/`device`; link_layer: "InfiniBand", "Ethernet".
  void ib_port(const std::string& name, const std::string& device, int port, const std::string& link_layer,
               const std::string& rate, const std::string& state = "4: ACTIVE") const {
    const std::string at = "sys/class/infiniband/" + name;
    const std::string folder = at + "/ports/" + std::to_string(port);
    put(folder + "/link_layer", link_layer), put(folder + "/rate", rate), put(folder + "/state", state);
    if (!device.empty()) link(at + "/device", "sys/devices/" + device);
  }
  // device "": a virtual interface.
  void net(const std::string& name, const std::string& device, const std::string& speed,
           const std::string& operstate = "up", const std::string& type = "1") const {
    const std::string at = "sys/class/net/" + name;
    put(at + "/speed", speed), put(at + "/operstate", operstate), put(at + "/type", type);
    if (!device.empty()) link(at + "/device", "sys/devices/" + device);
  }
  void link(const std::string& from, const std::string& to) const {
    const std::filesystem::path source = folder_.path() / from, target = folder_.path() / to;
    std::filesystem::create_directories(source.parent_path());
    std::filesystem::create_directories(target);
    std::error_code exists;  // an adapter's second port
    std::filesystem::create_directory_symlink(std::filesystem::relative(target, source.parent_path()), source, exists);
  }

 private:
  TempFolder folder_;
};

}  // namespace trireme::testkit
