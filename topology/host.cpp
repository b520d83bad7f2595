#include "topology/host.h"

#include <fmt/ranges.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <set>

#include "base/error.h"
#include "topology/hwloc_topology.h"
#include "topology/memory.h"

namespace trireme {

namespace {

uint64_t cache_bytes(const HwlocTopology& topology, hwloc_obj_type_t type) {
  hwloc_obj_t cache = hwloc_get_obj_by_type(topology.handle(), type, 0);
  return cache ? cache->attr->cache.size : 0;
}

std::string cpu_model(const HwlocTopology& topology) {
  hwloc_obj_t package = hwloc_get_obj_by_type(topology.handle(), HWLOC_OBJ_PACKAGE, 0);
  const char* model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : nullptr;
  return model ? model : "";
}

std::vector<Cpu> cpus_of(const HwlocTopology& topology) {
  std::vector<Cpu> cpus;
  const auto number = [](hwloc_obj_t object, unsigned otherwise) {
    return static_cast<int>(object ? object->logical_index : otherwise);
  };
  for (hwloc_obj_t pu = nullptr; (pu = hwloc_get_next_obj_by_type(topology.handle(), HWLOC_OBJ_PU, pu));) {
    const int numa = pu->nodeset ? hwloc_bitmap_first(pu->nodeset) : 0;
    cpus.push_back(
        {.id = static_cast<int>(pu->os_index),
         .core = number(hwloc_get_ancestor_obj_by_type(topology.handle(), HWLOC_OBJ_CORE, pu), pu->logical_index),
         .numa = std::max(numa, 0),
         .package = number(hwloc_get_ancestor_obj_by_type(topology.handle(), HWLOC_OBJ_PACKAGE, pu), 0)});
  }
  std::sort(cpus.begin(), cpus.end(), [](const Cpu& a, const Cpu& b) { return a.id < b.id; });
  return cpus;
}

Host host_of(const HwlocTopology& topology) {
  Host host;
  host.cpu_model = cpu_model(topology);
  host.cpus = cpus_of(topology);
  host.l2_bytes = cache_bytes(topology, HWLOC_OBJ_L2CACHE);
  host.l3_bytes = cache_bytes(topology, HWLOC_OBJ_L3CACHE);
  host.l3_caches = std::max(0, hwloc_get_nbobjs_by_type(topology.handle(), HWLOC_OBJ_L3CACHE));
  return host;
}

// How many different values `member` has.
int count_kinds(const std::vector<Cpu>& cpus, int Cpu::*member) {
  std::set<int> kinds;
  for (const Cpu& cpu : cpus) kinds.insert(cpu.*member);
  return static_cast<int>(kinds.size());
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "always [madvise] never" -> "madvise"
std::string chosen_word(const std::string& line) {
  size_t begin = line.find('['), end = line.find(']');
  return begin == line.npos || end == line.npos ? "" : line.substr(begin + 1, end - begin - 1);
}

std::string gib(uint64_t bytes) { return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30)); }

}  // namespace

int Host::packages() const { return count_kinds(cpus, &Cpu::package); }
int Host::numa_nodes() const { return count_kinds(cpus, &Cpu::numa); }
int Host::cores() const { return count_kinds(cpus, &Cpu::core); }

const Cpu* Host::find_cpu(int id) const {
  const auto found = std::lower_bound(cpus.begin(), cpus.end(), id, [](const Cpu& cpu, int i) { return cpu.id < i; });
  return found == cpus.end() || found->id != id ? nullptr : &*found;
}

const Gpu* Host::find_gpu(const std::string& uuid) const {
  const auto holds = [&](const Gpu& gpu) {
    return gpu.uuid == uuid || std::any_of(gpu.instances.begin(), gpu.instances.end(),
                                           [&](const MigInstance& instance) { return instance.uuid == uuid; });
  };
  const auto found = std::find_if(gpus.gpus.begin(), gpus.gpus.end(), holds);
  return uuid.empty() || found == gpus.gpus.end() ? nullptr : &*found;
}

namespace {

// The different values that `member` has for these CPUs.
std::vector<int> kinds_of(const Host& host, const std::vector<int>& cpu_ids, int Cpu::*member) {
  std::set<int> kinds;
  for (int id : cpu_ids)
    if (const Cpu* cpu = host.find_cpu(id)) kinds.insert(cpu->*member);
  return {kinds.begin(), kinds.end()};
}

}  // namespace

std::vector<int> Host::numa_of(const std::vector<int>& cpu_ids) const { return kinds_of(*this, cpu_ids, &Cpu::numa); }

std::vector<int> Host::packages_of(const std::vector<int>& cpu_ids) const {
  return kinds_of(*this, cpu_ids, &Cpu::package);
}

namespace {

// How many CPUs hwloc would make of "package:2 core:8(attributes) pu:2", or at most so many: the product of the counts.
// Told before it makes them, for it takes minutes over a hundred thousand.
double described_cpus(const std::string& description) {
  double cpus = 1;
  int attributes = 0;  // depth of parentheses
  for (size_t i = 0; i < description.size(); i++) {
    const char c = description[i];
    attributes += (c == '(') - (c == ')');
    const bool begins = i == 0 || std::string_view(": [").find(description[i - 1]) != std::string_view::npos;
    if (attributes == 0 && begins && c >= '0' && c <= '9') cpus *= std::strtod(&description[i], nullptr);
  }
  return cpus;
}

}  // namespace

Host invent_host(const std::string& description) {
  if (described_cpus(description) > static_cast<double>(kMostCpus))
    fail(ExitCode::usage, "'{}' is too large to invent; take at most {} CPUs", description, kMostCpus);
  const HwlocTopology topology(description);
  Host host = host_of(topology);
  host.name = "invented";
  host.memory_bytes = host.memory_available_bytes = hwloc_get_root_obj(topology.handle())->total_memory;
  host.gpus.missing = "invented without any";
  return host;
}

Host probe_host() {
  Host host = host_of(HwlocTopology());
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  host.name = name;
  host.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  const Memory memory = probe_memory("/");
  host.machine_memory_bytes = static_cast<uint64_t>(memory.machine_bytes);
  host.memory_bytes = static_cast<uint64_t>(memory.total_bytes);
  host.memory_available_bytes = static_cast<uint64_t>(memory.available_bytes);
  struct statvfs shm {};
  if (statvfs("/dev/shm", &shm) == 0) {
    host.shm_bytes = shm.f_blocks * shm.f_frsize;
    host.shm_free_bytes = shm.f_bavail * shm.f_frsize;
  }
  host.huge_pages = chosen_word(first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  host.gpus = probe_gpus();
  place_gpus("/", host.gpus.gpus);
  host.nics = probe_nics("/");
  return host;
}

std::string cpu_list(const std::vector<int>& cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) end++;
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[i]);
    if (end - i > 1) text += fmt::format("-{}", cpus[end - 1]);
    i = end;
  }
  return text.empty() ? "none" : text;
}

std::optional<std::vector<int>> parse_cpu_list(std::string_view text) {
  constexpr int kMost = 1 << 20;
  std::set<int> cpus;
  const char *at = text.data(), *end = at + text.size();
  if (text == "none") return std::vector<int>{};
  while (true) {
    int first = 0, last = 0;
    auto read = std::from_chars(at, end, first);
    last = first;
    if (read.ec == std::errc() && read.ptr != end && *read.ptr == '-') read = std::from_chars(read.ptr + 1, end, last);
    if (read.ec != std::errc() || first < 0 || last < first || last > kMost) return std::nullopt;
    for (int cpu = first; cpu <= last; cpu++) cpus.insert(cpu);
    if (read.ptr == end) return std::vector<int>(cpus.begin(), cpus.end());
    if (*read.ptr != ',') return std::nullopt;
    at = read.ptr + 1;
  }
}

std::string host_text(const Host& host) {
  std::string text = fmt::format("  cpu            {} packages, {} NUMA nodes, {} cores, {} logical CPUs{}\n",
                                 host.packages(), host.numa_nodes(), host.cores(), host.cpus.size(),
                                 host.cpu_model.empty() ? "" : " (" + host.cpu_model + ")");
  if (host.l2_bytes || host.l3_bytes)
    text += fmt::format("  caches         L2 {} KiB, {} x L3 {} KiB\n", host.l2_bytes / 1024, host.l3_caches,
                        host.l3_bytes / 1024);
  if (host.memory_bytes) text += fmt::format("  memory         {}", gib(host.memory_bytes));
  if (host.memory_available_bytes) text += fmt::format(", {} available", gib(host.memory_available_bytes));
  if (host.memory_bytes) text += "\n";
  if (host.shm_bytes)
    text += fmt::format("  /dev/shm       {}, {} free\n", gib(host.shm_bytes), gib(host.shm_free_bytes));
  if (!host.huge_pages.empty()) text += fmt::format("  huge pages     {}\n", host.huge_pages);
  text += gpu_text(host.gpus);
  return text;
}

}  // namespace trireme
