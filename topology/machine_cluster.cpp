#include "topology/machine_cluster.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "topology/device_names.h"
#include "topology/nearest.h"

namespace trireme {

namespace {

// What a core does of which nobody knows more: 8 lanes of FP32 (AVX2), two multiply-adds a cycle at 3 GHz, twice that
// in 8 bits; and its part of a server's memory channels (epyc-9654: 4.1, xeon-6980p: 5.7 GB/s a core). A few cores draw
// more, until two channels are busy.
constexpr double kCoreFlops = 100e9, kCoreOps = 200e9, kCoreReads = 4e9, kLoneCoreReads = 15e9, kFewCoresRead = 60e9;
constexpr const char* kUnknownNic = "eth10";  // of CPU hosts whose adapters are unknown

DeviceSheet get_sheet(const Gpu& gpu) {
  if (auto sheet = find_gpu_sheet(gpu.name, gpu.memory_bytes)) return *sheet;
  fail(ExitCode::configuration,
       "there is no data sheet of {}; describe the machine in a JSON file with its figures (docs/operations.md, "
       "--machine)",
       gpu.name.empty() ? fmt::format("GPU {}, whose name the map does not tell", gpu.index) : gpu.name);
}

// A GPU that ranks compute on, or the instance of that UUID: it has a part of the rates as it has of the memory.
struct Device {
  const Gpu* gpu = nullptr;
  std::string uuid;
  DeviceSheet sheet;
  bool instance = false;

  Device(const Gpu& of, const std::string& uuid) : gpu(&of), uuid(uuid), sheet(get_sheet(of)) {
    if (of.memory_bytes > 0) sheet.memory_bytes = static_cast<double>(of.memory_bytes);
    for (const MigInstance& i : of.instances) {
      if (i.uuid != uuid) continue;
      instance = true;
      sheet.scale_rates(static_cast<double>(i.memory_bytes) / sheet.memory_bytes);
      sheet.memory_bytes = static_cast<double>(i.memory_bytes);
    }
  }
};

// Those that ranks of a host may use.
std::vector<Device> devices_of(const Machine& machine, int h) {
  const Host& host = machine.hosts[static_cast<size_t>(h)];
  std::vector<Device> devices;
  if (machine.ranks.empty())
    for (const Gpu& gpu : host.gpus.gpus) devices.emplace_back(gpu, gpu.uuid);
  std::set<std::string> uuids;
  for (int r : machine.ranks_on(h)) {
    const Rank& rank = machine.ranks[static_cast<size_t>(r)];
    uuids.insert(rank.visible_gpus.begin(), rank.visible_gpus.end());
    if (!rank.gpu.empty()) uuids.insert(rank.gpu);
  }
  for (const std::string& uuid : uuids) {
    const Gpu* gpu = host.find_gpu(uuid);
    if (!gpu)
      fail(ExitCode::configuration,
           "the driver of {} does not show GPU {}, so there is no data sheet of it; describe "
           "the machine in words (plan --machine '8 h100')",
           host.name, uuid);
    devices.emplace_back(*gpu, uuid);
  }
  return devices;
}

Link link_of(const std::vector<Device>& devices) {
  const auto all = [&](auto holds) { return std::all_of(devices.begin(), devices.end(), holds); };
  if (!all([](const Device& d) { return d.sheet.nvlink_bytes_per_s > 0 && !d.instance; })) return Link::pcie;
  if (all([](const Device& d) { return d.gpu->switch_links > 0; })) return Link::nvswitch;
  if (!all([](const Device& d) { return !d.gpu->peer_links.empty(); })) return Link::pcie;
  // Bridged to all others they are as good as behind a switch.
  const bool mesh =
      devices.size() > 2 && all([&](const Device& d) { return d.gpu->peer_links.size() + 1 >= devices.size(); });
  return mesh ? Link::nvswitch : Link::nvlink_pairs;
}

// GPUs that bridges join at least.
int bridged_size(const std::vector<const Device*>& devices) {
  size_t least = devices.size();
  for (const Device* d : devices) least = std::min(least, 1 + d->gpu->peer_links.size());
  return static_cast<int>(least);
}

// GPUs of the smallest NVSwitch fabric that joins hosts; 0: there is none, or not everywhere.
int fabric_size(const std::vector<std::vector<Device>>& hosts) {
  std::map<std::string, int> sizes;
  for (const auto& devices : hosts)
    for (const Device& d : devices) sizes[d.gpu->fabric]++;
  if (sizes.contains("")) return 0;
  return std::min_element(sizes.begin(), sizes.end(), [](auto& a, auto& b) { return a.second < b.second; })->second;
}

Cluster cluster_of_gpus(const std::vector<std::vector<Device>>& hosts) {
  Cluster c;
  c.devices = static_cast<int>(hosts.front().size());
  std::vector<const Device*> all;
  c.link = Link::nvswitch;
  for (const auto& devices : hosts) {
    c.devices = std::min(c.devices, static_cast<int>(devices.size()));
    c.link = std::max(c.link, link_of(devices));  // the better first
    for (const Device& d : devices) all.push_back(&d);
  }
  const auto least = [&](auto rate) {
    return *std::min_element(all.begin(), all.end(), [&](auto* a, auto* b) { return a->sheet.*rate < b->sheet.*rate; });
  };
  const Device& slowest = *least(&DeviceSheet::memory_bytes_per_s);
  c.device = slowest.sheet;
  const Device& smallest = *least(&DeviceSheet::memory_bytes);
  c.device.memory_bytes = smallest.sheet.memory_bytes;
  c.device.link = c.link;
  c.device.link_domain = c.link == Link::nvlink_pairs ? bridged_size(all) : fabric_size(hosts);
  c.remarks.push_back(fmt::format("{:.1f} GB of memory as the {} has it; rates are {}the data sheet's of {} ({})",
                                  c.device.memory_bytes / 1e9, smallest.gpu->memory_bytes ? "driver" : "data sheet",
                                  slowest.instance ? "an instance's part of " : "", c.device.name, slowest.gpu->name));
  return c;
}

// The ranks that the map has on a host, each with the GPU that it would take.
std::vector<Rank> ranks_of(const Machine& machine, int h) {
  std::vector<Rank> ranks;
  const std::vector<int> here = machine.ranks_on(h), gpus = nearest_gpus(machine, h);
  for (size_t i = 0; i < here.size(); i++) {
    Rank& rank = ranks.emplace_back(machine.ranks[static_cast<size_t>(here[i])]);
    if (rank.gpu.empty() && !rank.visible_gpus.empty()) rank.gpu = rank.visible_gpus[static_cast<size_t>(gpus[i])];
  }
  return ranks;
}

TpReach reach_of(const Host& host, std::vector<Rank> ranks) {
  Machine machine;
  machine.hosts = {host};
  machine.host_of.assign(ranks.size(), 0);
  machine.ranks = std::move(ranks);
  return TpReach::of(Links(machine, 0), machine.size());
}

// Of a rank on each device, as the map has it there: its container may share no memory with others'.
TpReach reach_of_gpus(const Machine& machine, int h, const std::vector<Device>& devices) {
  const std::vector<Rank> there = ranks_of(machine, h);
  std::vector<Rank> ranks;
  for (const Device& device : devices) {
    auto found = std::ranges::find(there, device.uuid, &Rank::gpu);
    if (found == there.end())
      found =
          std::ranges::find_if(there, [&](const Rank& r) { return std::ranges::count(r.visible_gpus, device.uuid); });
    ranks.push_back(found == there.end() ? Rank{} : *found);
    ranks.back().gpu = device.uuid;
  }
  return reach_of(machine.hosts[static_cast<size_t>(h)], std::move(ranks));
}

// The CPUs of a host that its ranks may use.
std::vector<Cpu> allowed_cpus(const Machine& machine, int h) {
  const Host& host = machine.hosts[static_cast<size_t>(h)];
  if (machine.ranks.empty()) return host.cpus;
  std::set<int> ids;
  for (int r : machine.ranks_on(h)) {
    const std::vector<int>& allowed = machine.ranks[static_cast<size_t>(r)].allowed;
    ids.insert(allowed.begin(), allowed.end());
  }
  std::vector<Cpu> cpus;
  for (int id : ids)
    if (const Cpu* cpu = host.find_cpu(id)) cpus.push_back(*cpu);
  return cpus;
}

// Of a rank on each core.
TpReach reach_of_cores(const Host& host, const std::vector<Cpu>& cpus) {
  std::map<int, Rank> ranks;  // by core
  for (const Cpu& cpu : cpus) ranks[cpu.core].allowed.push_back(cpu.id);
  std::vector<Rank> all;
  for (auto& [core, rank] : ranks) all.push_back(std::move(rank));
  return reach_of(host, std::move(all));
}

bool share_memory(const Machine& machine, int h) {
  std::set<int> domains;
  for (int r : machine.ranks_on(h)) domains.insert(machine.ranks[static_cast<size_t>(r)].domain);
  return domains.size() <= 1;
}

// Of one rank's control group: of several nobody knows whether they share it.
int cores_of(const Machine& machine, int h) {
  std::set<int> cores;
  double quota = 0;
  for (const Cpu& cpu : allowed_cpus(machine, h)) cores.insert(cpu.core);
  for (int r : machine.ranks_on(h)) {
    const Rank& rank = machine.ranks[static_cast<size_t>(r)];
    if (rank.cpu_quota > 0) quota = quota > 0 ? std::min(quota, rank.cpu_quota) : rank.cpu_quota;
  }
  const int allowed = static_cast<int>(cores.size());
  return std::max(1, quota > 0 ? std::min(allowed, static_cast<int>(quota)) : allowed);
}

double available_bytes_of(const Machine& machine, int h) {
  const Host& host = machine.hosts[static_cast<size_t>(h)];
  int64_t least = 0;
  for (int r : machine.ranks_on(h)) {
    const int64_t bytes = machine.ranks[static_cast<size_t>(r)].available_bytes;
    if (bytes > 0 && (least == 0 || bytes < least)) least = bytes;
  }
  if (least > 0) return static_cast<double>(least);
  return static_cast<double>(host.memory_available_bytes > 0 ? host.memory_available_bytes : host.memory_bytes);
}

// Rates of `cores` of a CPU, and where they are from.
struct CpuRates {
  DeviceSheet sheet;
  std::string reads_from, arithmetic_from;
};

CpuRates cpu_rates(const Host& host, int cores, const CpuArithmetic& measured) {
  CpuRates r;
  const auto known = find_cpu_sheet(host.cpu_model);
  if (known && known->cpu) {
    r.sheet = *known;
    r.sheet.scale_rates(static_cast<double>(cores) / known->cores);  // a VM has a few of them, two sockets have more
    r.reads_from = r.arithmetic_from = fmt::format("by the data sheet of {}", known->name);
  } else {
    r.sheet.name = host.cpu_model, r.sheet.nic = kUnknownNic;
    r.sheet.memory_bytes_per_s = std::max(cores * kCoreReads, std::min(cores * kLoneCoreReads, kFewCoresRead));
    r.sheet.bf16_flops = cores * kCoreFlops, r.sheet.int8_ops = cores * kCoreOps;
    r.reads_from = "a guess by its cores (topology --measure measures it)";
    r.arithmetic_from = "a guess by its cores";
  }
  if (host.read_gbps > 0) r.sheet.memory_bytes_per_s = host.read_gbps * 1e9, r.reads_from = "measured";
  if (measured.bf16_flops > 0) {
    r.sheet.bf16_flops = measured.bf16_flops, r.sheet.flops_reach = 1;
    r.sheet.int8_ops = measured.int8_ops;
    r.arithmetic_from = "measured";
  }
  return r;
}

Cluster cluster_of_cpus(const Machine& machine, const CpuArithmetic& measured) {
  Cluster c;
  CpuRates slowest;
  for (int h = 0; h < std::ssize(machine.hosts); h++) {
    const int cores = cores_of(machine, h);
    const double bytes = available_bytes_of(machine, h);
    CpuRates rates = cpu_rates(machine.hosts[static_cast<size_t>(h)], cores, measured);
    c.cores = h == 0 ? cores : std::min(c.cores, cores);
    c.device.memory_bytes = h == 0 ? bytes : std::min(c.device.memory_bytes, bytes);
    if (h == 0 || rates.sheet.memory_bytes_per_s < slowest.sheet.memory_bytes_per_s) slowest = std::move(rates);
  }
  slowest.sheet.memory_bytes = c.device.memory_bytes;
  c.device = slowest.sheet;
  c.device.cpu = true;
  c.device.link = c.link = Link::sockets;
  // What ranks of a host send each other is written and read.
  if (c.device.pcie_bytes_per_s == 0) c.device.pcie_bytes_per_s = c.device.memory_bytes_per_s / 2;
  c.remarks.push_back(fmt::format("{:.1f} GB of memory are free; the CPUs read {:.1f} GB/s of it, {}",
                                  c.device.memory_bytes / 1e9, c.device.memory_bytes_per_s / 1e9, slowest.reads_from));
  c.remarks.push_back(fmt::format("they do {:.0f} GFLOP/s and {:.0f} GOP/s in INT8, {}", c.device.bf16_flops / 1e9,
                                  c.device.int8_ops / 1e9, slowest.arithmetic_from));
  return c;
}

// A host's adapters of its fastest kind.
struct Adapters {
  Nic nic;
  int count = 0;
  double bytes_per_s() const { return count * nic.bytes_per_s(); }
};

Adapters adapters_of(const Host& host) {
  Adapters fastest;
  for (const HostNic& n : host.nics) {
    if (n.nic.gbit_per_s == 0 || n.nic.gbit_per_s < fastest.nic.gbit_per_s) continue;
    if (n.nic.gbit_per_s > fastest.nic.gbit_per_s || fastest.count == 0) fastest = {n.nic, 0};
    fastest.count += n.nic == fastest.nic;
  }
  return fastest;
}

void add_adapters(Cluster& c, const Machine& machine) {
  Adapters least = adapters_of(machine.hosts.front());
  for (const Host& host : machine.hosts)
    if (const Adapters a = adapters_of(host); a.bytes_per_s() < least.bytes_per_s()) least = a;
  c.nics = least.count, c.nic = least.nic;
}

// A kernel keeps a part of the memory for itself, another version a little more.
bool alike_memory(const Host& a, const Host& b) {
  const auto [less, more] = std::minmax(a.memory_bytes, b.memory_bytes);
  return static_cast<double>(more) <= 1.01 * static_cast<double>(less);
}

// In the numbers and kinds of parts, which a plan counts, in words ("CPUs: 64 and 128").
std::vector<std::string> unlike_parts(const Host& a, const Host& b) {
  std::vector<std::string> found;
  const auto compare = [&](const char* what, const auto& mine, const auto& other) {
    if (mine != other) found.push_back(fmt::format("{}: {} and {}", what, mine, other));
  };
  const auto gigabytes = [](const Host& host) {
    return fmt::format("{:.1f} GB", static_cast<double>(host.memory_bytes) / 1e9);
  };
  compare("CPU model", a.cpu_model, b.cpu_model);
  compare("CPUs", a.cpus.size(), b.cpus.size());
  compare("cores", a.cores(), b.cores());
  compare("packages", a.packages(), b.packages());
  compare("NUMA nodes", a.numa_nodes(), b.numa_nodes());
  if (!alike_memory(a, b)) compare("memory", gigabytes(a), gigabytes(b));
  compare("GPUs", kinds_text(a.gpus), kinds_text(b.gpus));
  const auto nics = [](const Host& host) {
    std::vector<std::string> kinds;
    for (const HostNic& nic : host.nics) kinds.push_back(nic.nic.text());
    return fmt::format("{}", fmt::join(kinds, " "));
  };
  compare("network adapters", nics(a), nics(b));
  return found;
}

// What is unlike the first host, in words; "": nothing.
std::string unlike(const std::vector<Host>& hosts) {
  for (const Host& host : hosts)
    if (const auto found = unlike_parts(hosts.front(), host); !found.empty())
      return fmt::format("hosts differ ({} and {}: {}), and each counts as the weakest", hosts.front().name, host.name,
                         fmt::join(found, "; "));
  return "";
}

// What every host allows.
TpReach reach_of_gpus(const Machine& machine, const std::vector<std::vector<Device>>& devices) {
  TpReach all = reach_of_gpus(machine, 0, devices.front());
  for (int h = 1; h < std::ssize(machine.hosts); h++)
    all = all.shared_with(reach_of_gpus(machine, h, devices[static_cast<size_t>(h)]));
  return all;
}

// Where ranks of a host share no memory, nobody knows which cores would.
TpReach reach_of_cores(const Machine& machine) {
  TpReach all;
  std::vector<Cpu> before;
  for (int h = 0; h < std::ssize(machine.hosts); h++) {
    if (!share_memory(machine, h)) return {};
    std::vector<Cpu> cpus = allowed_cpus(machine, h);
    if (h > 0 && cpus == before) continue;  // the quadratic search of one host is enough for thousands that are alike
    const TpReach reach = reach_of_cores(machine.hosts[static_cast<size_t>(h)], cpus);
    all = h == 0 ? reach : all.shared_with(reach);
    before = std::move(cpus);
  }
  return all;
}

}  // namespace

Cluster cluster_of(const Machine& machine, const CpuArithmetic& measured) {
  std::vector<std::vector<Device>> devices;
  for (int h = 0; h < std::ssize(machine.hosts); h++) devices.push_back(devices_of(machine, h));
  const bool gpus = std::none_of(devices.begin(), devices.end(), [](const auto& of) { return of.empty(); });
  Cluster c = gpus ? cluster_of_gpus(devices) : cluster_of_cpus(machine, measured);
  c.reach = gpus ? reach_of_gpus(machine, devices) : reach_of_cores(machine);
  add_adapters(c, machine);
  if (const std::string words = unlike(machine.hosts); !words.empty()) c.remarks.push_back(words);
  return c.with_hosts(static_cast<int>(machine.hosts.size()));
}

}  // namespace trireme
