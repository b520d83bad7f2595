#include <fmt/core.h>
#include <sys/utsname.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <pugixml.hpp>
#include <sstream>

#include "base/printable.h"
#include "topology/machine_text.h"
#include "topology/nccl_xml.h"
#include "topology/pci.h"

namespace trireme {

namespace {

constexpr const char *kBridgeClass = "0x060400", *kGpuClass = "0x030200", *kNvswitchClass = "0x068000",
                     *kEthernetClass = "0x020000", *kInfinibandClass = "0x020700";
// What NVML says of a switch that it does not show; NCCL takes it for one.
constexpr const char* kHiddenSwitch = "fffffff:ffff:ff";

// As sysfs writes a cpumap: groups of 32 CPUs, the highest first.
std::string cpu_map(const std::vector<int>& cpus) {
  std::vector<uint32_t> words(1);
  for (int cpu : cpus) {
    const auto word = static_cast<size_t>(cpu / 32);
    if (words.size() <= word) words.resize(word + 1);
    words[word] |= 1u << (cpu % 32);
  }
  std::string text;
  for (auto word = words.rbegin(); word != words.rend(); ++word)
    text += fmt::format("{}{:08x}", text.empty() ? "" : ",", *word);
  return text;
}

const char* vendor_of(const std::string& cpu_model) {
  if (cpu_model.find("AMD") != std::string::npos) return "AuthenticAMD";
  return cpu_model.find("Intel") != std::string::npos ? "GenuineIntel" : nullptr;
}

class Writer {
 public:
  Writer(const Host& host, const std::string& root) : host_(host), root_(root) {}

  std::string text() {
    pugi::xml_node system = document_.append_child("system");
    system.append_attribute("version") = 1;
    for (const PackagePart& package : parts_of(host_))
      for (const NumaPart& node : package.nodes) add_node(system, node);
    std::ostringstream text;
    document_.save(text, "  ", pugi::format_default | pugi::format_no_declaration, pugi::encoding_utf8);
    return text.str();
  }

 private:
  void add_node(pugi::xml_node system, const NumaPart& part) {
    pugi::xml_node cpu = system.append_child("cpu");
    cpu.append_attribute("numaid") = part.node;
    if (!part.cpus.empty()) cpu.append_attribute("affinity") = cpu_map(part.cpus).c_str();
    utsname kernel{};
    if (!root_.empty() && uname(&kernel) == 0)
      cpu.append_attribute("arch") = std::string_view(kernel.machine) == "aarch64" ? "arm64" : kernel.machine;
    if (const char* vendor = vendor_of(host_.cpu_model)) cpu.append_attribute("vendor") = vendor;
    for (const Gpu* gpu : part.gpus) add_gpu(cpu, *gpu);
    for (const HostNic* nic : part.nics) add_nic(cpu, *nic);
  }

  void add_gpu(pugi::xml_node cpu, const Gpu& gpu) {
    std::vector<std::string> path = gpu.pci_path;
    if (path.empty()) path = {pci_address(gpu.pci)};
    pugi::xml_node node = device(cpu, path, kGpuClass).append_child("gpu");
    node.append_attribute("dev") = gpu.index;
    if (gpu.architecture) node.append_attribute("sm") = gpu.architecture;
    node.append_attribute("rank") = gpu.index;
    const auto add_links = [&](const std::string& target, int count, const char* target_class) {
      pugi::xml_node link = node.append_child("nvlink");
      link.append_attribute("target") = target.c_str();
      link.append_attribute("count") = count;
      link.append_attribute("tclass") = target_class;
    };
    if (gpu.switch_links) add_links(kHiddenSwitch, gpu.switch_links, kNvswitchClass);
    for (const auto& [peer, count] : gpu.peer_links) add_links(pci_address(peer), count, kGpuClass);
  }

  // One without a PCI path hangs on its node's CPUs.
  void add_nic(pugi::xml_node cpu, const HostNic& nic) {
    const char* nic_class = nic.nic.kind == Nic::Kind::infiniband ? kInfinibandClass : kEthernetClass;
    pugi::xml_node at = nic.pci_path.empty() ? cpu : device(cpu, nic.pci_path, nic_class);
    pugi::xml_node adapter = at.child("nic") ? at.child("nic") : at.append_child("nic");
    pugi::xml_node net = adapter.append_child("net");
    const std::string name = printable(nic.name);  // XML has no way to write a control character
    const size_t colon = name.find(':');
    net.append_attribute("name") = name.substr(0, colon).c_str();
    net.append_attribute("dev") = static_cast<int>(&nic - host_.nics.data());
    if (nic.nic.gbit_per_s > 0) net.append_attribute("speed") = static_cast<int>(nic.nic.gbit_per_s * 1000);  // Mbit/s
    net.append_attribute("port") = colon == std::string::npos ? "1" : name.substr(colon + 1).c_str();
  }

  // NCCL names every second bridge: a switch is the port above it and the port below it.
  pugi::xml_node device(pugi::xml_node cpu, const std::vector<std::string>& path, const char* its_class) {
    pugi::xml_node at = cpu;
    for (size_t i = (path.size() - 1) % 2; i < path.size(); i += 2) {
      pugi::xml_node found = at.find_child_by_attribute("pci", "busid", path[i].c_str());
      at = found ? found : add_pci(at, path[i], i + 1 == path.size() ? its_class : kBridgeClass);
    }
    return at;
  }

  pugi::xml_node add_pci(pugi::xml_node above, const std::string& address, const char* its_class) {
    pugi::xml_node pci = above.append_child("pci");
    pci.append_attribute("busid") = address.c_str();
    const std::string known_class = sysfs(address, "class");
    pci.append_attribute("class") = known_class.empty() ? its_class : known_class.c_str();
    for (const char* name : {"vendor", "device", "subsystem_vendor", "subsystem_device"})
      if (const std::string value = sysfs(address, name); !value.empty()) pci.append_attribute(name) = value.c_str();
    pci.append_attribute("link_speed") = sysfs(address, "max_link_speed").c_str();  // "": NCCL assumes its own
    pci.append_attribute("link_width") = sysfs(address, "max_link_width").c_str();
    return pci;
  }

  std::string sysfs(const std::string& address, const char* name) const {
    std::string line;
    if (root_.empty()) return line;
    std::ifstream file(std::filesystem::path(root_) / "sys/bus/pci/devices" / address / name);
    std::getline(file, line);
    return line;
  }

  const Host& host_;
  const std::string& root_;
  pugi::xml_document document_;
};

}  // namespace

std::string nccl_xml(const Host& host, const std::string& root) { return Writer(host, root).text(); }

}  // namespace trireme
