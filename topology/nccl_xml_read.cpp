#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <pugixml.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "topology/nccl_xml.h"
#include "topology/pci.h"

namespace trireme {

namespace {

constexpr size_t kMostDevices = 1 << 10, kMostBridges = 64;
constexpr int kMostNumber = 1 << 24;
// NCCL tells no names, but PCI numbers of NVIDIA's: those of GPUs that have a data sheet (the PCI ID repository,
// pci.ids).
constexpr std::pair<std::string_view, const char*> kGpuNames[] = {{"0x20b0", "a100-40gb"}, {"0x20f1", "a100-pcie-40gb"},
                                                                  {"0x20b2", "a100-80gb"}, {"0x20b5", "a100-pcie-80gb"},
                                                                  {"0x2330", "h100"},      {"0x2331", "h100-pcie"},
                                                                  {"0x2321", "h100-nvl"},  {"0x2335", "h200"},
                                                                  {"0x2342", "gh200"},     {"0x2329", "h20"},
                                                                  {"0x2901", "b200"},      {"0x2941", "gb200"},
                                                                  {"0x3182", "b300"},      {"0x31c2", "gb300"},
                                                                  {"0x2236", "a10"},       {"0x20b7", "a30"},
                                                                  {"0x2235", "a40"},       {"0x27b8", "l4"},
                                                                  {"0x26b9", "l40s"},      {"0x2230", "rtx-a6000"},
                                                                  {"0x2684", "rtx-4090"},  {"0x2b85", "rtx-5090"}};
constexpr std::string_view kSwitchClass = "0x068", kInfinibandClass = "0x0207";

class Reader {
 public:
  explicit Reader(const std::string& source) : source_(source) {}

  Host host(pugi::xml_node system) {
    host_.name = "host";
    host_.gpus.missing = "";
    for (pugi::xml_node cpu : system.children("cpu")) {
      const int node = number(cpu, "numaid", -1, -1);
      add_cpus(cpu, node);
      read_below(cpu, node, {});
    }
    std::sort(host_.cpus.begin(), host_.cpus.end(), [](const Cpu& a, const Cpu& b) { return a.id < b.id; });
    const auto twice = std::adjacent_find(host_.cpus.begin(), host_.cpus.end(),
                                          [](const Cpu& a, const Cpu& b) { return a.id == b.id; });
    if (twice != host_.cpus.end())
      fail(ExitCode::bad_data, "{}: CPU {} stands in the \"affinity\" of two <cpu>", source_, twice->id);
    std::sort(host_.gpus.gpus.begin(), host_.gpus.gpus.end(),
              [](const Gpu& a, const Gpu& b) { return a.index < b.index; });
    if (host_.gpus.gpus.empty()) host_.gpus.missing = "none in the XML";
    return std::move(host_);
  }

 private:
  [[noreturn]] void refuse(pugi::xml_node node, const char* attribute, const std::string& why) const {
    fail(ExitCode::bad_data, "{}: attribute \"{}\" of the <{}> at byte {} {}", source_, attribute, node.name(),
         node.offset_debug(), why);
  }
  int number(pugi::xml_node node, const char* attribute, int otherwise, int least = 0) const {
    const std::string_view text = node.attribute(attribute).value();
    if (text.empty()) return otherwise;
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > kMostNumber)
      refuse(node, attribute, fmt::format("must be a whole number from {} to {}", least, kMostNumber));
    return value;
  }
  std::string address(pugi::xml_node node, const char* attribute) const {
    const std::string found = pci_address(node.attribute(attribute).value());
    if (found.empty()) refuse(node, attribute, "must be a PCI address like 0000:1b:00.0");
    return found;
  }

  // "00000000,ffffffff": groups of 32, the highest first.
  void add_cpus(pugi::xml_node cpu, int node) {
    const std::string_view map = cpu.attribute("affinity").value();
    size_t id = 0;
    for (auto digit = map.rbegin(); digit != map.rend(); ++digit) {
      if (*digit == ',') continue;
      unsigned bits = 0;
      if (std::from_chars(&*digit, &*digit + 1, bits, 16).ec != std::errc() || id >= kMostCpus)
        refuse(cpu, "affinity", fmt::format("must be a mask of at most {} CPUs in hexadecimal", kMostCpus));
      for (unsigned bit = 0; bit < 4; bit++, id++)
        if (bits >> bit & 1) {
          const int number = static_cast<int>(id);
          host_.cpus.push_back({number, number, std::max(node, 0), std::max(node, 0)});
        }
    }
  }

  void read_below(pugi::xml_node above, int node, const std::vector<std::string>& path) {
    std::vector<std::string> bridges = path;
    // NCCL names a switch by its upper port alone. That stands for the lower port, too, so that a path has both, as one
    // of sysfs has, and is written as it was read.
    if (!path.empty()) bridges.push_back(path.back());
    for (pugi::xml_node pci : above.children("pci")) {
      if (bridges.size() >= kMostBridges)
        refuse(pci, "busid", fmt::format("is nested deeper than {}", kMostBridges / 2));
      std::vector<std::string> here = bridges;
      here.push_back(address(pci, "busid"));
      for (pugi::xml_node gpu : pci.children("gpu")) add_gpu(gpu, node, here);
      read_below(pci, node, here);
    }
    for (pugi::xml_node adapter : above.children("nic"))
      for (pugi::xml_node net : adapter.children("net")) add_net(net, node, path, above.attribute("class").value());
  }

  void add_gpu(pugi::xml_node node, int numa, const std::vector<std::string>& path) {
    Gpu gpu;
    gpu.index = number(node, "dev", static_cast<int>(host_.gpus.gpus.size()));
    for (const auto& [device, name] : kGpuNames)
      if (node.parent().attribute("device").value() == device) gpu.name = name;
    gpu.architecture = number(node, "sm", 0);
    gpu.numa = numa;
    gpu.pci_path = path;
    gpu.pci = nvml_address(path.back());
    for (pugi::xml_node link : node.children("nvlink")) {
      const int count = number(link, "count", 1);
      if (std::string_view(link.attribute("tclass").value()).starts_with(kSwitchClass))
        gpu.switch_links += std::min(count, kMostNumber - gpu.switch_links);
      else
        gpu.peer_links[nvml_address(address(link, "target"))] = count;
    }
    if (host_.gpus.gpus.size() >= kMostDevices)
      refuse(node, "dev", fmt::format("is of more than {} GPUs", kMostDevices));
    host_.gpus.gpus.push_back(std::move(gpu));
  }

  // It does not say what kind: InfiniBand has a class of its own, and RDMA devices names that interfaces have not.
  void add_net(pugi::xml_node node, int numa, const std::vector<std::string>& path, std::string_view pci_class) {
    HostNic nic;
    nic.name = printable(node.attribute("name").value());
    const bool interface = nic.name.starts_with("e") || nic.name.starts_with("bond");
    nic.nic.kind = pci_class.starts_with(kInfinibandClass) ? Nic::Kind::infiniband
                   : interface                             ? Nic::Kind::ethernet
                                                           : Nic::Kind::roce;
    nic.nic.gbit_per_s = number(node, "speed", 0) / 1000.0;
    if (const int port = number(node, "port", 1); port > 1) nic.name += fmt::format(":{}", port);
    nic.numa = numa;
    nic.pci_path = path;
    if (host_.nics.size() >= kMostDevices)
      refuse(node, "name", fmt::format("is of more than {} adapters", kMostDevices));
    host_.nics.push_back(std::move(nic));
  }

  // NVML gives the domain eight digits.
  static std::string nvml_address(const std::string& address) {
    return std::string(std::string_view("00000000").substr(0, 8 - std::min<size_t>(8, address.find(':')))) + address;
  }

  const std::string& source_;
  Host host_;
};

}  // namespace

Host host_from_nccl_xml(std::string_view xml, const std::string& source) {
  pugi::xml_document document;
  const pugi::xml_parse_result result = document.load_buffer(xml.data(), xml.size());
  if (!result)
    fail(ExitCode::bad_data, "{}: byte {} is no XML ({}); write the file anew", source, result.offset,
         result.description());
  const pugi::xml_node system = document.child("system");
  if (!system) fail(ExitCode::bad_data, "{}: the XML has no <system>; it is no topology of NCCL", source);
  return Reader(source).host(system);
}

}  // namespace trireme
