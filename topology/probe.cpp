#include "topology/probe.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "topology/hwloc_topology.h"

namespace trireme {

namespace {

std::vector<Cpu> cpus_of(const HwlocTopology& topology) {
  std::vector<Cpu> cpus;
  for (hwloc_obj_t pu = nullptr; (pu = hwloc_get_next_obj_by_type(topology.handle(), HWLOC_OBJ_PU, pu));) {
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology.handle(), HWLOC_OBJ_CORE, pu);
    int numa = pu->nodeset ? hwloc_bitmap_first(pu->nodeset) : 0;
    cpus.push_back({static_cast<int>(pu->os_index), static_cast<int>(core ? core->logical_index : pu->logical_index),
                    std::max(numa, 0)});
  }
  std::sort(cpus.begin(), cpus.end(), [](const Cpu& a, const Cpu& b) { return a.id < b.id; });
  return cpus;
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

RankProbe probe_rank() {
  RankProbe probe;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  probe.host = host;
  probe.boot_id = boot_id();
  probe.cpus = cpus_of(HwlocTopology());
  probe.allowed = allowed_cpus();
  Memory memory = probe_memory("/");
  probe.memory_bytes = memory.total_bytes;
  probe.available_bytes = memory.available_bytes;
  return probe;
}

RankProbe invent_rank(const std::string& synthetic) {
  HwlocTopology topology(synthetic);
  RankProbe probe;
  probe.host = "invented";
  probe.cpus = cpus_of(topology);
  for (const Cpu& cpu : probe.cpus) probe.allowed.push_back(cpu.id);
  probe.memory_bytes = probe.available_bytes =
      static_cast<int64_t>(hwloc_get_root_obj(topology.handle())->total_memory);
  return probe;
}

void to_json(nlohmann::json& json, const RankProbe& p) {
  auto cpus = nlohmann::json::array();
  for (const Cpu& cpu : p.cpus) cpus.push_back({cpu.id, cpu.core, cpu.numa});
  json = {{"host", p.host},
          {"boot_id", p.boot_id},
          {"cpus", cpus},
          {"allowed", p.allowed},
          {"memory_bytes", p.memory_bytes},
          {"available_bytes", p.available_bytes},
          {"gpu", p.gpu},
          {"gpu_available_bytes", p.gpu_available_bytes},
          {"domain", p.domain}};
}

void from_json(const nlohmann::json& json, RankProbe& p) {
  p = {};
  json.at("host").get_to(p.host);
  json.at("boot_id").get_to(p.boot_id);
  for (const auto& cpu : json.at("cpus"))
    p.cpus.push_back({cpu.at(0).get<int>(), cpu.at(1).get<int>(), cpu.at(2).get<int>()});
  json.at("allowed").get_to(p.allowed);
  json.at("memory_bytes").get_to(p.memory_bytes);
  json.at("available_bytes").get_to(p.available_bytes);
  json.at("gpu").get_to(p.gpu);
  json.at("gpu_available_bytes").get_to(p.gpu_available_bytes);
  json.at("domain").get_to(p.domain);
}

}  // namespace trireme
