#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "topology/machine_text.h"

namespace trireme {

namespace {

constexpr size_t kShownNames = 8;
constexpr int kLast = 1 << 30;  // sorts what is unknown behind all that is known

int cores_of(const Host& host, const std::vector<int>& cpus) {
  std::set<int> cores;
  for (int id : cpus) cores.insert(host.find_cpu(id)->core);
  return static_cast<int>(cores.size());
}

}  // namespace

std::string host_names(const Machine& machine, const std::vector<int>& hosts) {
  std::vector<std::string> names;
  for (size_t i = 0; i < hosts.size(); i++) {
    if (hosts.size() > kShownNames + 1 && i == kShownNames) {
      names.push_back("...");
      i = hosts.size() - 1;
    }
    names.push_back(machine.hosts[static_cast<size_t>(hosts[i])].name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<PackagePart> parts_of(const Host& host) {
  const auto key = [](int number) { return number < 0 ? kLast : number; };
  std::map<int, std::map<int, NumaPart>> packages;  // [package][node]
  std::map<int, int> package_of;                    // a node without CPUs is of no known package
  for (const Cpu& cpu : host.cpus) {
    packages[key(cpu.package)][key(cpu.numa)].cpus.push_back(cpu.id);
    package_of.try_emplace(cpu.numa, key(cpu.package));
  }
  const auto part_of = [&](int node) -> NumaPart& {
    const auto package = package_of.find(node);
    return packages[package == package_of.end() ? kLast : package->second][key(node)];
  };
  for (const Gpu& gpu : host.gpus.gpus) part_of(gpu.numa).gpus.push_back(&gpu);
  for (const HostNic& nic : host.nics) part_of(nic.numa).nics.push_back(&nic);
  std::vector<PackagePart> parts;
  for (auto& [package, nodes] : packages) {
    PackagePart& part = parts.emplace_back();
    part.package = package == kLast ? -1 : package;
    for (auto& [node, found] : nodes) {
      found.node = node == kLast ? -1 : node;
      found.cores = cores_of(host, found.cpus);
      part.nodes.push_back(std::move(found));
    }
  }
  return parts;
}

std::string pci_relation(const std::vector<std::string>& path_a, int numa_a, const std::vector<std::string>& path_b,
                         int numa_b) {
  if (!path_a.empty() && !path_b.empty()) {
    const auto bus = [](const std::string& address) { return address.substr(0, address.rfind(':')); };
    // Under one root port there is a switch, or one device with several functions.
    if (path_a.front() == path_b.front()) return "switch";
    if (bus(path_a.front()) == bus(path_b.front())) return "bridge";
  }
  if (numa_a < 0 || numa_b < 0) return "?";
  return numa_a == numa_b ? "node" : "sockets";
}

namespace {

std::string gpu_path(const Gpu& a, const Gpu& b) {
  if (a.switch_links > 0 && b.switch_links > 0) return "NVSwitch";
  if (const auto links = a.peer_links.find(b.pci); links != a.peer_links.end() && links->second > 0)
    return fmt::format("NVLink x{}", links->second);
  return pci_relation(a.pci_path, a.numa, b.pci_path, b.numa);
}

}  // namespace

std::string gpu_relation(const Gpu& a, const Gpu& b) {
  const auto access = a.peer_access.find(b.pci);
  const bool refused = access != a.peer_access.end() && !access->second;
  return gpu_path(a, b) + (refused ? kNoPeerAccess : "");
}

}  // namespace trireme
