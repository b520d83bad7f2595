#include "topology/invent.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace trireme {

namespace {

constexpr int kSocketCores = 32;  // where no data sheet says it
constexpr int kGpuSockets = 2;
constexpr int kMostAdaptersOfDevice = 8, kMostOfAll = 1 << 14;
constexpr double kNvlinkBytesPerS = 25e9;  // of one link and direction, NVLink 3 and 4; NVLink 5 has twice that
constexpr double kMostNvlinks = 18;        // of a GPU, NVLink 4 and 5

// Addresses of what hangs below one root port: each device has a port, and so a switch, of its own.
class Slot {
 public:
  explicit Slot(int index) : domain_(index / kBuses), bus_(0x10 * (1 + index % kBuses)) {}
  std::vector<std::string> gpu() const { return {at(0, 1), at(1, 0), at(2, 0), at(3, 0)}; }
  std::vector<std::string> adapter(int n) const { return {at(0, 1), at(1, 0), at(2, 1 + n), at(4 + n, 0)}; }

 private:
  static constexpr int kBuses = 15;
  std::string at(int bus, int device) const {
    return fmt::format("{:04x}:{:02x}:{:02x}.0", domain_, bus_ + bus, device);
  }
  int domain_, bus_;
};

int socket_of(int device, int devices, int sockets) { return device * sockets / devices; }

void check_size(const Cluster& c) {
  if (c.devices > kMostInvented || c.size() > kMostOfAll || c.nics > kMostAdaptersOfDevice * c.devices)
    fail(ExitCode::usage,
         "'{}' is too large to invent; take at most {} devices a host, {} adapters a device, {} devices in all",
         c.text(), kMostInvented, kMostAdaptersOfDevice, kMostOfAll);
}

std::string uuid_of(int host, int gpu) { return fmt::format("GPU-{:08x}-0000-0000-0000-{:012x}", host, gpu); }

Gpu invent_gpu(const Cluster& c, int host, int index) {
  Gpu gpu;
  gpu.index = index;
  gpu.name = c.device.name;
  gpu.uuid = uuid_of(host, index);
  gpu.pci_path = Slot(index).gpu();
  gpu.pci = "0000" + gpu.pci_path.back();  // as NVML writes it
  gpu.memory_bytes = gpu.free_bytes = static_cast<uint64_t>(c.device.memory_bytes);
  gpu.numa = socket_of(index, c.devices, kGpuSockets);
  if (c.link == Link::nvswitch && c.device.link_domain > 0)
    gpu.fabric = fmt::format("invented/{}", (host * c.devices + index) / c.device.link_domain);
  return gpu;
}

void invent_links(const Cluster& c, std::vector<Gpu>& gpus) {
  const int bridged = c.link == Link::nvlink_pairs ? c.fast_domain() : 1;
  const int links =
      static_cast<int>(std::min(kMostNvlinks, std::round(c.device.nvlink_bytes_per_s / kNvlinkBytesPerS)));
  for (Gpu& gpu : gpus) {
    if (c.link == Link::nvswitch) gpu.switch_links = links;
    for (const Gpu& peer : gpus) {
      const bool joined = &peer != &gpu && peer.index / bridged == gpu.index / bridged;
      if (joined) gpu.peer_links[peer.pci] = links / (bridged - 1);
      if (joined || (c.link == Link::nvswitch && &peer != &gpu))
        gpu.peer_access[peer.pci] = true;
      else if (&peer != &gpu && !c.device.peer_access)
        gpu.peer_access[peer.pci] = false;
    }
  }
}

// Adapter k of m belongs to device k * n / m of n.
std::vector<HostNic> invent_nics(const Cluster& c, int sockets) {
  std::vector<HostNic> nics;
  int device_before = -1, n = 0;
  for (int k = 0; k < c.nics; k++) {
    const int device = static_cast<int>(static_cast<int64_t>(k) * c.devices / c.nics);
    n = device == device_before ? n + 1 : 0;
    device_before = device;
    nics.push_back({.name = fmt::format("{}{}", Nic{c.nic.kind}.text(), k),
                    .nic = c.nic,
                    .numa = socket_of(device, c.devices, sockets),
                    .pci_path = Slot(device).adapter(n)});
  }
  return nics;
}

Host invent_host_of(const Cluster& c, int index) {
  const int sockets = c.device.cpu ? c.devices : kGpuSockets,
            cores = c.device.cores > 0 ? c.device.cores : kSocketCores;
  Host host;
  host.name = fmt::format("host{}", index);
  host.boot_id = fmt::format("invented-{}", index);
  if (c.device.cpu) host.cpu_model = c.device.name;
  for (int id = 0; id < sockets * cores; id++)
    host.cpus.push_back({.id = id, .core = id, .numa = id / cores, .package = id / cores});
  if (c.device.cpu) {
    host.memory_bytes = static_cast<uint64_t>(c.device.memory_bytes) * static_cast<uint64_t>(c.devices);
    host.memory_available_bytes = host.memory_bytes;
    host.gpus.missing = "invented without any";
  } else {
    for (int i = 0; i < c.devices; i++) host.gpus.gpus.push_back(invent_gpu(c, index, i));
    invent_links(c, host.gpus.gpus);
  }
  host.nics = invent_nics(c, sockets);
  return host;
}

// On GPU or socket `device` of a host: beside its CPUs, as a launcher that knows the host would bind it.
Rank invent_rank(const Host& host, int device) {
  Rank rank;
  rank.host_name = host.name;
  rank.available_bytes = static_cast<int64_t>(host.memory_available_bytes);
  const bool on_gpu = !host.gpus.gpus.empty();
  for (const Cpu& cpu : host.cpus)
    if (on_gpu ? cpu.numa == host.gpus.gpus[static_cast<size_t>(device)].numa : cpu.package == device)
      rank.allowed.push_back(cpu.id);
  if (!on_gpu) return rank;
  for (const Gpu& gpu : host.gpus.gpus) rank.visible_gpus.push_back(gpu.uuid);
  rank.gpu = host.gpus.gpus[static_cast<size_t>(device)].uuid;
  rank.gpu_available_bytes = static_cast<int64_t>(host.gpus.gpus[static_cast<size_t>(device)].free_bytes);
  return rank;
}

void add(Machine& machine, Host host, int devices) {
  const int first = machine.size();
  for (int device = 0; device < devices; device++) {
    machine.ranks.push_back(invent_rank(host, device));
    machine.ranks.back().domain = first;
    machine.host_of.push_back(static_cast<int>(machine.hosts.size()));
  }
  machine.hosts.push_back(std::move(host));
}

}  // namespace

Machine invent_machine(const Cluster& cluster) {
  check_size(cluster);
  Machine machine;
  for (int h = 0; h < cluster.hosts; h++) add(machine, invent_host_of(cluster, h), cluster.devices);
  return machine;
}

Machine invent_machine(const std::string& description) {
  const bool of_hwloc = description.find(':') != std::string::npos;
  const size_t first = description.find_first_not_of(" \t");
  const bool counts = first != std::string::npos && description[first] >= '0' && description[first] <= '9';
  if (counts && !of_hwloc) return invent_machine(Cluster::parse(description, "--synthetic"));
  if (!of_hwloc)
    fail(ExitCode::usage,
         "'{}' describes no machine; write one like '2 hosts x 8 h100 nvswitch, 8 ib400' or, as hwloc does, "
         "'package:2 numa:1 core:8 pu:2'",
         description);
  Machine machine;
  Host host = invent_host(description);
  const int packages = host.packages();
  add(machine, std::move(host), packages);
  return machine;
}

}  // namespace trireme
