#include "topology/machine_json.h"

#include <nlohmann/json.hpp>

#include "topology/json_fields.h"
#include "topology/pci.h"

namespace trireme {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr const char* kMark = "trireme_machine";
constexpr size_t kMostHosts = 1 << 16, kMostRanks = 1 << 20;             // of a machine
constexpr size_t kMostDevices = 1 << 10;                                 // of a host
constexpr size_t kMostLinks = 1 << 10, kMostBridges = 64;                // of a device
constexpr int64_t kMostNumber = 1 << 24, kMostBytes = int64_t{1} << 60;  // of an id; of a size

// Left out where it says nothing.
template <typename T>
void put(ordered_json& object, const char* field, const T& value, const T& nothing = {}) {
  if (value != nothing) object[field] = value;
}

ordered_json to_json(const Gpu& g) {
  ordered_json object = {{"index", g.index}, {"name", g.name}, {"uuid", g.uuid}};
  put(object, "pci", g.pci);
  put(object, "pci_path", g.pci_path);
  put(object, "numa", g.numa, -1);
  put(object, "architecture", g.architecture);
  put(object, "memory_bytes", g.memory_bytes);
  put(object, "free_bytes", g.free_bytes);
  put(object, "sm_clock_mhz", g.sm_clock_mhz);
  put(object, "memory_clock_mhz", g.memory_clock_mhz);
  put(object, "mig", g.mig);
  for (const MigInstance& i : g.instances)
    object["instances"].push_back({{"uuid", i.uuid}, {"memory_bytes", i.memory_bytes}});
  put(object, "exclusive", g.exclusive);
  put(object, "switch_links", g.switch_links);
  put(object, "peer_links", g.peer_links);
  put(object, "fabric", g.fabric);
  put(object, "peer_access", g.peer_access);
  return object;
}

ordered_json to_json(const HostNic& n) {
  ordered_json object = {{"name", n.name}, {"nic", n.nic.text()}};
  put(object, "numa", n.numa, -1);
  put(object, "pci_path", n.pci_path);
  return object;
}

ordered_json to_json(const Host& h) {
  ordered_json object = {{"name", h.name}};
  put(object, "boot_id", h.boot_id);
  put(object, "cpu_model", h.cpu_model);
  object["cpus"] = ordered_json::array();  // [id, core, NUMA node, package]
  for (const Cpu& cpu : h.cpus) object["cpus"].push_back({cpu.id, cpu.core, cpu.numa, cpu.package});
  put(object, "l2_bytes", h.l2_bytes);
  put(object, "l3_bytes", h.l3_bytes);
  put(object, "l3_caches", h.l3_caches);
  put(object, "machine_memory_bytes", h.machine_memory_bytes);
  put(object, "memory_bytes", h.memory_bytes);
  put(object, "memory_available_bytes", h.memory_available_bytes);
  put(object, "shm_bytes", h.shm_bytes);
  put(object, "shm_free_bytes", h.shm_free_bytes);
  put(object, "read_gbps", h.read_gbps);
  put(object, "huge_pages", h.huge_pages);
  put(object, "gpu_driver", h.gpus.driver);
  put(object, "cuda", h.gpus.cuda);
  put(object, "gpus_missing", h.gpus.missing);
  for (const Gpu& gpu : h.gpus.gpus) object["gpus"].push_back(to_json(gpu));
  for (const HostNic& nic : h.nics) object["nics"].push_back(to_json(nic));
  return object;
}

ordered_json to_json(const Rank& r, int host) {
  ordered_json object = {{"host", host}, {"host_name", r.host_name}, {"allowed", cpu_list(r.allowed)}};
  put(object, "cpu_quota", r.cpu_quota);
  put(object, "available_bytes", r.available_bytes);
  put(object, "visible_gpus", r.visible_gpus);
  put(object, "gpu", r.gpu);
  put(object, "gpu_available_bytes", r.gpu_available_bytes);
  object["domain"] = r.domain;
  return object;
}

// A file's objects, one after the other.
class Reader {
 public:
  explicit Reader(const std::string& source) : source_(source) {}

  Machine machine(const json& object) {
    const JsonFields fields(object, source_);
    fields.only({kMark, "hosts", "ranks", "measured_links"});
    fields.whole(kMark, 0, kVersion, kVersion);
    Machine machine;
    for (const json& host : fields.list("hosts", kMostHosts)) machine.hosts.push_back(this->host(host));
    if (machine.hosts.empty()) fields.refuse("hosts", "must have at least one");
    for (const json& rank : fields.list("ranks", kMostRanks)) {
      const JsonFields of_rank(rank, source_, "rank");
      machine.host_of.push_back(
          static_cast<int>(of_rank.whole("host", 0, 0, static_cast<int64_t>(machine.hosts.size()) - 1)));
      machine.ranks.push_back(this->rank(of_rank));
    }
    for (const json& link : fields.list("measured_links", kMostRanks))
      machine.measured_links.push_back(measured_link(link, machine.size()));
    return machine;
  }

 private:
  static int number(const JsonFields& fields, const char* field, int otherwise = 0) {
    return static_cast<int>(fields.whole(field, otherwise, std::min(otherwise, 0), kMostNumber));
  }
  static uint64_t bytes(const JsonFields& fields, const char* field) {
    return static_cast<uint64_t>(fields.whole(field, 0, 0, kMostBytes));
  }
  static std::vector<std::string> texts(const JsonFields& fields, const char* field, size_t most) {
    std::vector<std::string> list;
    for (const json& text : fields.list(field, most)) {
      if (!text.is_string()) fields.refuse(field, "must be a list of texts");
      list.push_back(printable(text.get_ref<const std::string&>()));
    }
    return list;
  }
  static void check_address(const JsonFields& fields, const char* field, const std::string& text) {
    if (pci_address(text).empty()) fields.refuse(field, "must be PCI addresses like 0000:1b:00.0");
  }
  static std::vector<std::string> pci_path(const JsonFields& fields) {
    std::vector<std::string> path = texts(fields, "pci_path", kMostBridges);
    for (const std::string& address : path) check_address(fields, "pci_path", address);
    return path;
  }
  static std::vector<int> numbers(const JsonFields& fields, const char* field, const json& values) {
    std::vector<int> list;
    for (const json& value : values) {
      if (!value.is_number_integer() || value < 0 || value > kMostNumber)
        fields.refuse(field, fmt::format("must have whole numbers from 0 to {}", kMostNumber));
      list.push_back(value.get<int>());
    }
    return list;
  }

  Gpu gpu(const json& object) {
    const JsonFields fields(object, source_, "GPU");
    fields.only({"index", "name", "uuid", "pci", "pci_path", "numa", "architecture", "memory_bytes", "free_bytes",
                 "sm_clock_mhz", "memory_clock_mhz", "mig", "instances", "exclusive", "switch_links", "peer_links",
                 "fabric", "peer_access"});
    Gpu g;
    g.index = number(fields, "index");
    g.name = fields.text("name", "");
    g.uuid = fields.text("uuid", "");
    g.pci = fields.text("pci", "");
    if (!g.pci.empty()) check_address(fields, "pci", g.pci);
    g.pci_path = pci_path(fields);
    g.numa = number(fields, "numa", -1);
    g.architecture = number(fields, "architecture");
    g.memory_bytes = bytes(fields, "memory_bytes");
    g.free_bytes = bytes(fields, "free_bytes");
    g.sm_clock_mhz = number(fields, "sm_clock_mhz");
    g.memory_clock_mhz = number(fields, "memory_clock_mhz");
    g.mig = fields.truth("mig", false);
    for (const json& instance : fields.list("instances", kMostLinks)) {
      const JsonFields of_instance(instance, source_, "MIG instance");
      of_instance.only({"uuid", "memory_bytes"});
      g.instances.push_back({of_instance.text("uuid", ""), bytes(of_instance, "memory_bytes")});
    }
    g.exclusive = fields.truth("exclusive", false);
    g.switch_links = number(fields, "switch_links");
    g.fabric = fields.text("fabric", "");
    read_peers(fields, g);
    return g;
  }

  void read_peers(const JsonFields& fields, Gpu& g) {
    for (const char* field : {"peer_links", "peer_access"}) {
      if (!fields.has(field)) continue;
      const json& peers = fields.at(field);
      if (!peers.is_object() || peers.size() > kMostLinks) fields.refuse(field, "must be an object by PCI addresses");
      const JsonFields of_peers(peers, source_, field);
      const bool links = std::string_view(field) == "peer_links";
      for (const auto& [pci, value] : peers.items()) {
        check_address(fields, field, pci);
        if (links)
          g.peer_links[pci] = number(of_peers, pci.c_str());
        else
          g.peer_access[pci] = of_peers.truth(pci.c_str(), false);
      }
    }
  }

  HostNic nic(const json& object) {
    const JsonFields fields(object, source_, "network adapter");
    fields.only({"name", "nic", "numa", "pci_path"});
    HostNic n;
    n.name = fields.text("name", "");
    const std::string kind = fields.text("nic", "");
    const std::optional<Nic> parsed = Nic::parse(kind);
    if (!parsed) fields.refuse("nic", fmt::format("must be as ib400, roce100 or eth25; it is '{}'", kind));
    n.nic = *parsed;
    n.numa = number(fields, "numa", -1);
    n.pci_path = pci_path(fields);
    return n;
  }

  // A list, or a description for hwloc.
  static std::vector<Cpu> cpus(const JsonFields& fields) {
    if (fields.has("cpus") && fields.at("cpus").is_string()) {
      try {
        return invent_host(fields.text("cpus", "")).cpus;
      } catch (const Error& error) {
        fields.refuse("cpus", fmt::format("cannot be: {}", error.what()));
      }
    }
    std::vector<Cpu> cpus;
    for (const json& cpu : fields.list("cpus", kMostCpus)) {
      if (!cpu.is_array() || cpu.size() != 4) fields.refuse("cpus", "must be a list of [id, core, NUMA node, package]");
      const std::vector<int> n = numbers(fields, "cpus", cpu);
      if (!cpus.empty() && n[0] <= cpus.back().id) fields.refuse("cpus", "must have ascending ids");
      cpus.push_back({.id = n[0], .core = n[1], .numa = n[2], .package = n[3]});
    }
    return cpus;
  }

  Host host(const json& object) {
    const JsonFields fields(object, source_, "host");
    fields.only({"name", "boot_id", "cpu_model", "cpus", "l2_bytes", "l3_bytes", "l3_caches", "machine_memory_bytes",
                 "memory_bytes", "memory_available_bytes", "shm_bytes", "shm_free_bytes", "read_gbps", "huge_pages",
                 "gpu_driver", "cuda", "gpus_missing", "gpus", "nics"});
    Host h;
    h.name = fields.text("name", "");
    h.boot_id = fields.text("boot_id", "");
    h.cpu_model = fields.text("cpu_model", "");
    h.cpus = cpus(fields);
    h.l2_bytes = bytes(fields, "l2_bytes");
    h.l3_bytes = bytes(fields, "l3_bytes");
    h.l3_caches = number(fields, "l3_caches");
    h.machine_memory_bytes = bytes(fields, "machine_memory_bytes");
    h.memory_bytes = bytes(fields, "memory_bytes");
    h.memory_available_bytes = bytes(fields, "memory_available_bytes");
    h.shm_bytes = bytes(fields, "shm_bytes");
    h.shm_free_bytes = bytes(fields, "shm_free_bytes");
    h.read_gbps = fields.number("read_gbps", 0);
    h.huge_pages = fields.text("huge_pages", "");
    h.gpus.driver = fields.text("gpu_driver", "");
    h.gpus.cuda = fields.text("cuda", "");
    h.gpus.missing = fields.text("gpus_missing", "");
    for (const json& gpu : fields.list("gpus", kMostDevices)) h.gpus.gpus.push_back(this->gpu(gpu));
    for (const json& nic : fields.list("nics", kMostDevices)) h.nics.push_back(this->nic(nic));
    return h;
  }

  MeasuredLink measured_link(const json& object, int ranks) {
    const JsonFields fields(object, source_, "measured link");
    fields.only({"from", "to", "latency_us", "gbps", "transport"});
    const auto rank = [&](const char* field) {
      fields.at(field);
      return static_cast<int>(fields.whole(field, 0, 0, ranks - 1));
    };
    return {rank("from"), rank("to"), fields.number("latency_us", 0), fields.number("gbps", 0),
            fields.text("transport", "")};
  }

  Rank rank(const JsonFields& fields) {
    fields.only({"host", "host_name", "allowed", "cpu_quota", "available_bytes", "visible_gpus", "gpu",
                 "gpu_available_bytes", "domain"});
    Rank r;
    r.host_name = fields.text("host_name", "");
    const std::optional<std::vector<int>> allowed = parse_cpu_list(fields.text("allowed", "none"));
    if (!allowed) fields.refuse("allowed", "must be a list of CPUs as 0-3,8");
    r.allowed = *allowed;
    r.cpu_quota = fields.number("cpu_quota", 0);
    r.available_bytes = fields.whole("available_bytes", 0, 0, kMostBytes);
    r.visible_gpus = texts(fields, "visible_gpus", kMostDevices);
    r.gpu = fields.text("gpu", "");
    r.gpu_available_bytes = fields.whole("gpu_available_bytes", 0, 0, kMostBytes);
    r.domain = number(fields, "domain");
    return r;
  }

  const std::string& source_;
};

}  // namespace

ordered_json machine_to_json(const Machine& machine) {
  ordered_json object = {{kMark, kVersion}, {"hosts", ordered_json::array()}, {"ranks", ordered_json::array()}};
  for (const Host& host : machine.hosts) object["hosts"].push_back(to_json(host));
  for (size_t r = 0; r < machine.ranks.size(); r++)
    object["ranks"].push_back(to_json(machine.ranks[r], machine.host_of[r]));
  for (const MeasuredLink& link : machine.measured_links)
    object["measured_links"].push_back({{"from", link.from},
                                        {"to", link.to},
                                        {"latency_us", link.latency_us},
                                        {"gbps", link.gbps},
                                        {"transport", link.transport}});
  return object;
}

Machine machine_from_json(const json& object, const std::string& source) { return Reader(source).machine(object); }

bool is_machine_json(const json& object) { return object.is_object() && object.contains(kMark); }

}  // namespace trireme
