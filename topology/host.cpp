#include "topology/host.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/thread_pool.h"
#include "topology/hwloc_topology.h"
#include "topology/probe.h"

namespace trireme {

namespace {

// The questions a Host asks.
class Questions {
 public:
  explicit Questions(const std::string& synthetic) : topology_(synthetic) {}
  int count(hwloc_obj_type_t type) const { return std::max(0, hwloc_get_nbobjs_by_type(topology_.handle(), type)); }
  hwloc_obj_t find(hwloc_obj_type_t type, unsigned index) const {
    return hwloc_get_obj_by_type(topology_.handle(), type, index);
  }
  uint64_t cache_bytes(hwloc_obj_type_t type) const {
    hwloc_obj_t cache = find(type, 0);
    return cache ? cache->attr->cache.size : 0;
  }
  std::string cpu_model() const {
    hwloc_obj_t package = find(HWLOC_OBJ_PACKAGE, 0);
    const char* model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : nullptr;
    return model ? model : "";
  }
  uint64_t memory_bytes() const { return hwloc_get_root_obj(topology_.handle())->total_memory; }

 private:
  HwlocTopology topology_;
};

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

Host probe_host(const std::string& synthetic) {
  Questions topology(synthetic);
  Host host;
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  host.name = synthetic.empty() ? name : "synthetic";
  host.cpu_model = topology.cpu_model();
  host.packages = topology.count(HWLOC_OBJ_PACKAGE);
  host.numa_nodes = topology.count(HWLOC_OBJ_NUMANODE);
  host.cores = topology.count(HWLOC_OBJ_CORE);
  host.cpus = topology.count(HWLOC_OBJ_PU);
  host.l2_bytes = topology.cache_bytes(HWLOC_OBJ_L2CACHE);
  host.l3_bytes = topology.cache_bytes(HWLOC_OBJ_L3CACHE);
  host.l3_caches = topology.count(HWLOC_OBJ_L3CACHE);
  host.memory_bytes = topology.memory_bytes();
  if (!synthetic.empty()) return host;

  Memory memory = probe_memory("/");
  host.memory_bytes = static_cast<uint64_t>(memory.total_bytes);
  host.memory_available_bytes = static_cast<uint64_t>(memory.available_bytes);
  host.allowed_cpus = allowed_cpus();
  for (unsigned i = 0; hwloc_obj_t node = topology.find(HWLOC_OBJ_NUMANODE, i); i++) {
    auto holds = [&](int cpu) { return hwloc_bitmap_isset(node->cpuset, static_cast<unsigned>(cpu)); };
    if (std::any_of(host.allowed_cpus.begin(), host.allowed_cpus.end(), holds))
      host.allowed_numa_nodes.push_back(static_cast<int>(node->os_index));
  }
  struct statvfs shm {};
  if (statvfs("/dev/shm", &shm) == 0) {
    host.shm_bytes = shm.f_blocks * shm.f_frsize;
    host.shm_free_bytes = shm.f_bavail * shm.f_frsize;
  }
  host.huge_pages = chosen_word(first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
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

std::string host_text(const Host& host) {
  std::string text =
      fmt::format("  cpu            {} packages, {} NUMA nodes, {} cores, {} logical CPUs{}\n", host.packages,
                  host.numa_nodes, host.cores, host.cpus, host.cpu_model.empty() ? "" : " (" + host.cpu_model + ")");
  text += fmt::format("  caches         L2 {} KiB, {} x L3 {} KiB\n", host.l2_bytes / 1024, host.l3_caches,
                      host.l3_bytes / 1024);
  text += fmt::format("  memory         {}", gib(host.memory_bytes));
  text += host.memory_available_bytes ? fmt::format(", {} available\n", gib(host.memory_available_bytes)) : "\n";
  if (host.shm_bytes)
    text += fmt::format("  /dev/shm       {}, {} free\n", gib(host.shm_bytes), gib(host.shm_free_bytes));
  if (!host.huge_pages.empty()) text += fmt::format("  huge pages     {}\n", host.huge_pages);
  return text;
}

}  // namespace trireme
