#include "topology/machine_compare.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "topology/invent.h"
#include "topology/machine_json.h"

namespace trireme {

namespace {

using nlohmann::json;
using Lines = std::vector<std::string>;

constexpr const char *kFirst = "00000000:13:00.0", *kSecond = "00000000:23:00.0";  // GPUs of a host

// Two hosts of two GPUs, one of them split, and two adapters, with whatever a dump may say of such hosts.
Machine full_machine() {
  Machine machine = invent_machine("2 hosts x 2 h100 nvswitch, 2 ib400");
  for (Host& host : machine.hosts) {
    host.cpu_model = "EPYC";
    host.l2_bytes = 1 << 20, host.l3_bytes = 32 << 20, host.l3_caches = 8;
    host.machine_memory_bytes = 1000, host.memory_bytes = 800, host.memory_available_bytes = 700;
    host.shm_bytes = 500, host.shm_free_bytes = 400;
    host.read_gbps = 100, host.huge_pages = "madvise";
    host.gpus.driver = "550.54", host.gpus.cuda = "12.4", host.gpus.missing = "one of three";
    for (Gpu& gpu : host.gpus.gpus) {
      gpu.architecture = 90, gpu.free_bytes = 1, gpu.sm_clock_mhz = 1980, gpu.memory_clock_mhz = 2619;
      gpu.peer_links = {{gpu.pci == kFirst ? kSecond : kFirst, 2}}, gpu.fabric = "rack/1";
    }
    Gpu& split = host.gpus.gpus.back();
    split.mig = split.exclusive = true, split.instances = {{"MIG-" + host.name, 40000}};
  }
  for (Rank& rank : machine.ranks) rank.cpu_quota = 8, rank.available_bytes = 300, rank.gpu_available_bytes = 200;
  machine.measured_links = {{0, 2, 10, 40, "ucx"}};
  return machine;
}

json dump_of(const Machine& machine) { return json::parse(machine_to_json(machine).dump()); }

// What is said of a dump where the value at `where` ("/hosts/0/name") is another.
std::string said_of(const std::string& where, const json& value) {
  const Machine machine = full_machine();
  json dump = dump_of(machine);
  dump.at(json::json_pointer(where)) = value;
  return fmt::format("{}", fmt::join(differences(machine, machine_from_json(dump, "m.json")), "; "));
}

struct Edit {
  std::string where;
  json value;
  std::string said;
};

// A change to each field of a dump.
const Edit kCounted[] = {
    {"/hosts/0/cpu_model", "Xeon", "hosts 0 cpu_model: EPYC and Xeon"},
    {"/hosts/1/cpus/63", {70, 63, 1, 1}, "hosts 1 cpus 63 id: 63 and 70"},
    {"/hosts/1/cpus/3", {3, 2, 0, 0}, "hosts 1 cpus 3 core: 3 and 2"},
    {"/hosts/1/cpus/3", {3, 3, 1, 0}, "hosts 1 cpus 3 numa: 0 and 1"},
    {"/hosts/1/cpus/3", {3, 3, 0, 1}, "hosts 1 cpus 3 package: 0 and 1"},
    {"/hosts/0/l2_bytes", 1, "hosts 0 l2_bytes: 1048576 and 1"},
    {"/hosts/0/l3_bytes", 1, "hosts 0 l3_bytes: 33554432 and 1"},
    {"/hosts/0/l3_caches", 4, "hosts 0 l3_caches: 8 and 4"},
    {"/hosts/0/machine_memory_bytes", 900, "hosts 0 machine_memory_bytes: 1000 and 900"},
    {"/hosts/0/memory_bytes", 700, "hosts 0 memory_bytes: 800 and 700"},
    {"/hosts/0/shm_bytes", 64, "hosts 0 shm_bytes: 500 and 64"},
    {"/hosts/0/read_gbps", 75, "hosts 0 read_gbps: 100 and 75"},
    {"/hosts/0/huge_pages", "never", "hosts 0 huge_pages: madvise and never"},
    {"/hosts/0/gpu_driver", "535.1", "hosts 0 gpu_driver: 550.54 and 535.1"},
    {"/hosts/0/cuda", "12.2", "hosts 0 cuda: 12.4 and 12.2"},
    {"/hosts/0/gpus_missing", "", "hosts 0 gpus_missing: one of three and none"},

    {"/hosts/0/gpus/1/index", 2, "hosts 0 gpus 1 index: 1 and 2"},
    {"/hosts/0/gpus/1/name", "h200", "hosts 0 gpus 1 name: h100 and h200"},
    {"/hosts/0/gpus/1/pci", kFirst, "hosts 0 gpus 1 pci: 00000000:23:00.0 and 00000000:13:00.0"},
    {"/hosts/0/gpus/1/pci_path", json::array({"0000:23:00.0"}),
     R"(hosts 0 gpus 1 pci_path: ["0000:20:01.0","0000:21:00.0","0000:22:00.0","0000:23:00.0"] and ["0000:23:00.0"])"},
    {"/hosts/0/gpus/1/numa", 0, "hosts 0 gpus 1 numa: 1 and 0"},
    {"/hosts/0/gpus/1/architecture", 80, "hosts 0 gpus 1 architecture: 90 and 80"},
    {"/hosts/0/gpus/1/memory_bytes", 1, "hosts 0 gpus 1 memory_bytes: 85520809984 and 1"},
    {"/hosts/0/gpus/1/sm_clock_mhz", 1200, "hosts 0 gpus 1 sm_clock_mhz: 1980 and 1200"},
    {"/hosts/0/gpus/1/memory_clock_mhz", 1593, "hosts 0 gpus 1 memory_clock_mhz: 2619 and 1593"},
    {"/hosts/0/gpus/1/mig", false, "hosts 0 gpus 1 mig: true and none"},
    {"/hosts/0/gpus/1/instances/0/memory_bytes", 20000, "hosts 0 gpus 1 instances 0 memory_bytes: 40000 and 20000"},
    {"/hosts/0/gpus/1/exclusive", false, "hosts 0 gpus 1 exclusive: true and none"},
    {"/hosts/0/gpus/1/switch_links", 17, "hosts 0 gpus 1 switch_links: 18 and 17"},
    {"/hosts/0/gpus/1/peer_links", {{kFirst, 1}}, "hosts 0 gpus 1 peer_links 00000000:13:00.0: 2 and 1"},
    {"/hosts/0/gpus/1/fabric", "rack/2", "hosts 0 gpus 1 fabric: 0/1 and 0/2"},
    {"/hosts/0/gpus/1/peer_access", {{kFirst, false}}, "hosts 0 gpus 1 peer_access 00000000:13:00.0: true and false"},

    {"/hosts/0/nics/1/name", "mlx5_1", "hosts 0 nics 1 name: ib1 and mlx5_1"},
    {"/hosts/0/nics/1/nic", "ib200", "hosts 0 nics 1 nic: ib400 and ib200"},
    {"/hosts/0/nics/1/numa", 0, "hosts 0 nics 1 numa: 1 and 0"},
    {"/hosts/0/nics/1/pci_path/3", "0000:25:00.0",
     R"(hosts 0 nics 1 pci_path: ["0000:20:01.0","0000:21:00.0","0000:22:01.0","0000:24:00.0"] and )"
     R"(["0000:20:01.0","0000:21:00.0","0000:22:01.0","0000:25:00.0"])"},

    {"/ranks/1/host", 1, "ranks 1 host: 0 and 1"},
    {"/ranks/1/allowed", "0", "ranks 1 allowed: 32-63 and 0"},
    {"/ranks/1/cpu_quota", 4, "ranks 1 cpu_quota: 8 and 4"},
    {"/ranks/1/visible_gpus", json::array(), R"(ranks 1 visible_gpus: ["GPU 0","GPU 1"] and none)"},
    {"/ranks/1/gpu", "", "ranks 1 gpu: GPU 1 and none"},
    {"/ranks/1/domain", 1, "ranks 1 domain: 0 and 1"},

    {"/measured_links/0/from", 1, "measured_links 0 from: 0 and 1"},
    {"/measured_links/0/to", 3, "measured_links 0 to: 2 and 3"},
    {"/measured_links/0/latency_us", 21, "measured_links 0 latency_us: 10 and 21"},
    {"/measured_links/0/gbps", 20, "measured_links 0 gbps: 40 and 20"},
    {"/measured_links/0/transport", "shm", "measured_links 0 transport: ucx and shm"},
};

// Another boot, another node of the same kind, and less that is free.
const Edit kNotCounted[] = {
    {"/hosts/0/name", "node7", ""},
    {"/hosts/0/boot_id", "again", ""},
    {"/hosts/0/memory_available_bytes", 1, ""},
    {"/hosts/0/shm_free_bytes", 1, ""},
    {"/hosts/0/gpus/1/free_bytes", 0, ""},
    {"/hosts/0/gpus/1/instances/0/uuid", "MIG-other", ""},
    {"/ranks/0/host_name", "container", ""},
    {"/ranks/0/available_bytes", 1, ""},
    {"/ranks/0/gpu_available_bytes", 1, ""},
};

// "/hosts/0/gpus/1/peer_links/00000000:13:00.0" is one of "hosts gpus peer_links".
std::string kind_of_field(std::string where) {
  std::string kind;
  for (size_t end = 0; !where.empty(); where.erase(0, end)) {
    end = std::min(where.find('/', 1), where.size());
    const std::string name = where.substr(1, end - 1);
    if (name.find_first_not_of("0123456789abcdef:.") != std::string::npos) kind += (kind.empty() ? "" : " ") + name;
  }
  return kind;
}

}  // namespace

TEST_CASE("each field of a dump is compared, or known not to count") {
  for (const Edit& edit : kCounted) {
    CAPTURE(edit.where);
    CHECK(said_of(edit.where, edit.value) == edit.said);
  }
  for (const Edit& edit : kNotCounted) {
    CAPTURE(edit.where);
    CHECK(said_of(edit.where, edit.value) == "");
  }
  std::set<std::string> fields, tried = {"trireme_machine", "hosts gpus uuid"};  // of UUIDs below
  const json values = dump_of(full_machine()).flatten();
  for (const auto& [where, value] : values.items()) fields.insert(kind_of_field(where));
  for (const Edit& edit : kCounted) tried.insert(kind_of_field(edit.where));
  for (const Edit& edit : kNotCounted) tried.insert(kind_of_field(edit.where));
  CHECK(fields == tried);
}

TEST_CASE("a GPU's UUID is its number, for ranks that name it, too") {
  Machine other = full_machine();
  for (Rank& rank : other.ranks)
    for (std::string* uuid : {&rank.gpu, &rank.visible_gpus[0]})
      if (*uuid == other.hosts[0].gpus.gpus[0].uuid) *uuid = "GPU-other";
  other.hosts[0].gpus.gpus[0].uuid = "GPU-other";
  CHECK(differences(full_machine(), other).empty());
  std::swap(other.ranks[0].visible_gpus[0], other.ranks[0].visible_gpus[1]);
  CHECK(differences(full_machine(), other) ==
        Lines{R"(ranks 0 visible_gpus: ["GPU 0","GPU 1"] and ["GPU 1","GPU 0"])"});
}

TEST_CASE("another rack is alike, GPUs that leave their fabric are not") {
  Machine other = full_machine();
  for (Host& host : other.hosts)
    for (Gpu& gpu : host.gpus.gpus) gpu.fabric = "elsewhere/1";
  CHECK(differences(full_machine(), other).empty());
  other.hosts[0].gpus.gpus[0].fabric = "rack/1";
  CHECK(!differences(full_machine(), other).empty());
}

TEST_CASE("a name out of a file stays on its line") {
  CHECK(said_of("/hosts/0/cpu_model", "x\nalike") == "hosts 0 cpu_model: EPYC and x alike");
}

TEST_CASE("of what only one machine has, how many") {
  CHECK(differences(invent_machine("4 h100 nvswitch, 2 ib400"), invent_machine("4 h100 pcie, 2 ib400")) ==
        Lines{"hosts 0 gpus 0-3 peer_access: 3 and none", "hosts 0 gpus 0-3 switch_links: 18 and none"});
}

TEST_CASE("what is true of several parts is said once") {
  CHECK(
      differences(invent_machine("2 hosts x 2 h100, 2 ib400"), invent_machine("2 hosts x 2 h200, 2 ib400")) ==
      Lines{"hosts 0-1 gpus 0-1 memory_bytes: 85520809984 and 150754820096", "hosts 0-1 gpus 0-1 name: h100 and h200"});
}

TEST_CASE("of hosts the first are compared, of other parts the number, for one that is missing moves the others") {
  CHECK(differences(invent_machine("2 hosts x 2 h100, 2 ib400"), invent_machine("3 hosts x 2 h100, 2 ib200")) ==
        Lines{"hosts: 2 and 3", "hosts 0-1 nics 0-1 nic: ib400 and ib200", "ranks: 4 and 6"});
  Machine whole = full_machine();
  whole.ranks.clear(), whole.host_of.clear(), whole.measured_links.clear();
  Machine lesser = whole;
  lesser.hosts[0].gpus.gpus.erase(lesser.hosts[0].gpus.gpus.begin());
  lesser.hosts[0].cpus.erase(lesser.hosts[0].cpus.begin());
  lesser.hosts[1].nics.clear();
  CHECK(differences(whole, lesser) ==
        Lines{"hosts 0 cpus: 64 and 63", "hosts 0 gpus: 2 and 1", "hosts 1 nics: 2 and none"});
}

TEST_CASE("sizes of memory differ by more than kernels differ, figures by more than measurements of them do") {
  CHECK(said_of("/hosts/0/memory_bytes", 793) == "");
  CHECK(said_of("/hosts/0/machine_memory_bytes", 991) == "");
  CHECK(said_of("/hosts/0/shm_bytes", 496) == "");
  CHECK(said_of("/hosts/0/read_gbps", 124) == "");
  CHECK(said_of("/measured_links/0/gbps", 33) == "");
  CHECK(said_of("/measured_links/0/latency_us", 19) == "");
}

TEST_CASE("what only one machine has measured is no difference") {
  Machine unmeasured = full_machine();
  for (Host& host : unmeasured.hosts) host.read_gbps = 0;
  unmeasured.measured_links.clear();
  CHECK(differences(full_machine(), unmeasured).empty());
  CHECK(differences(unmeasured, full_machine()).empty());
}

}  // namespace trireme
