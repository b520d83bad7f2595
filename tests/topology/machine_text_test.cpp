#include "topology/machine_text.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "testkit/error_of.h"
#include "topology/invent.h"
#include "topology/machine_json.h"

namespace trireme {

using testkit::contains;

TEST_CASE("a machine as a tree: hosts that are alike once, devices on their NUMA nodes, links, ranks") {
  CHECK(machine_tree(invent_machine("2 hosts x 2 h100 nvswitch, 2 ib400")) ==
        R"(host0, host1: 2 hosts, alike
  cpu            2 packages, 2 NUMA nodes, 64 cores, 64 logical CPUs
  GPUs           2 x h100, 80 GiB, 18 NVLinks to a switch
  package 0
    NUMA 0      32 cores, CPUs 0-31
      GPU 0      h100, 79.6 GiB, PCI 0000:13:00.0
      ib0        ib400, PCI 0000:14:00.0
  package 1
    NUMA 1      32 cores, CPUs 32-63
      GPU 1      h100, 79.6 GiB, PCI 0000:23:00.0
      ib1        ib400, PCI 0000:24:00.0
  links       GPU 0       GPU 1       ib0         ib1
    GPU 0     -           NVSwitch    switch      sockets
    GPU 1     NVSwitch    -           sockets     switch
    switch    behind one PCI switch
    sockets   of two NUMA nodes
  rank 0         on host0, computes on GPU 0, CPUs 0-31, NUMA 0, GPUs 0,1
  rank 1         on host0, computes on GPU 1, CPUs 32-63, NUMA 1, GPUs 0,1
  rank 2         on host1, computes on GPU 0, CPUs 0-31, NUMA 0, GPUs 0,1
  rank 3         on host1, computes on GPU 1, CPUs 32-63, NUMA 1, GPUs 0,1
)");
}

TEST_CASE("a host that differs says in what, and is shown whole") {
  Machine machine = invent_machine("3 hosts x 2 h100, 2 ib400");
  machine.hosts[1].nics.pop_back();
  const std::string text = machine_tree(machine);
  CHECK(contains(text, "host0, host2: 2 hosts, alike\n"));
  CHECK(contains(text, "host1\n  unlike host0  nics: 2 and 1\n"));
  machine = invent_machine("2 hosts x 2 h100, 2 ib400");
  machine.hosts[1].gpus.gpus[1].numa = 0;
  CHECK(contains(machine_tree(machine), "host1\n  unlike host0  gpus 1 numa: 1 and 0\n"));
}

TEST_CASE("many hosts that are alike are named by the first and the last") {
  CHECK(contains(machine_tree(invent_machine("100 hosts x 1 raspberry-pi-5")),
                 "host0, host1, host2, host3, host4, host5, host6, host7, ..., host99: 100 hosts, alike\n"));
}

TEST_CASE("what a launcher, a control group and CUDA_VISIBLE_DEVICES leave") {
  Machine machine = invent_machine("2 h100");
  machine.hosts[0].machine_memory_bytes = uint64_t{64} << 30;
  machine.hosts[0].memory_bytes = uint64_t{8} << 30;
  machine.ranks.pop_back(), machine.host_of.pop_back();
  machine.ranks[0].allowed = {0, 1, 2, 3};
  machine.ranks[0].cpu_quota = 2.5;
  machine.ranks[0].visible_gpus.pop_back();
  CHECK(contains(machine_tree(machine),
                 "  limits         4 of 64 CPUs; the time of 2.5 CPUs (control group); 8.0 GiB of 64.0 GiB of memory "
                 "(control group); 1 of 2 GPUs\n"));
}

TEST_CASE("a NUMA node that several packages share stands in each, with the cores that it has there") {
  const std::string text = machine_tree(invent_machine("numa:1 package:2 core:4 pu:1"));
  CHECK(contains(text, "  package 0\n    NUMA 0      4 cores, CPUs 0-3\n"));
  CHECK(contains(text, "  package 1\n    NUMA 0      4 cores, CPUs 4-7\n"));
}

TEST_CASE("without ranks nothing is limited") {
  Machine machine = invent_machine("2 h100");
  machine.ranks.clear(), machine.host_of.clear();
  CHECK(!contains(machine_tree(machine), "limits"));
}

TEST_CASE("devices of no known NUMA node, a split GPU, a GPU that no driver shows") {
  Machine machine = invent_machine("2 h100, 1 eth25");
  Host& host = machine.hosts[0];
  host.nics[0].numa = -1, host.nics[0].pci_path.clear(), host.nics[0].nic.gbit_per_s = 0;
  host.gpus.gpus[1].numa = 7;  // without CPUs
  host.gpus.gpus[0].instances = {{"MIG-1", uint64_t{10} << 30}};
  machine.ranks[0].visible_gpus = {"MIG-1", "GPU-lost"};
  const std::string text = machine_tree(machine);
  CHECK(contains(text, "        MIG-1, 10.0 GiB\n"));
  CHECK(contains(text, "\n    NUMA 7      0 cores, CPUs none\n      GPU 1 "));
  CHECK(contains(text, "\n  of no known NUMA node\n      eth0       eth\n"));
  CHECK(contains(text, "GPUs 0 (MIG-1),GPU-lost\n"));
}

TEST_CASE("how devices of a host reach each other") {
  const std::vector<std::string> a = {"0000:17:01.0", "0000:18:00.0"}, b = {"0000:17:01.0", "0000:19:00.0"},
                                 c = {"0000:17:05.0", "0000:20:00.0"}, d = {"0000:80:01.0", "0000:81:00.0"};
  CHECK(pci_relation(a, 0, b, 0) == "switch");
  CHECK(pci_relation(a, 0, c, 0) == "bridge");
  CHECK(pci_relation(a, 0, d, 0) == "node");
  CHECK(pci_relation(a, 0, d, 1) == "sockets");
  CHECK(pci_relation({}, 0, {}, 0) == "node");
  CHECK(pci_relation({}, -1, d, 0) == "?");
  const std::vector<Gpu> pairs = invent_machine("4 a100-80gb nvlink-pairs").hosts[0].gpus.gpus;
  CHECK(gpu_relation(pairs[0], pairs[1]) == "NVLink x12");
  CHECK(gpu_relation(pairs[1], pairs[2]) == "sockets");
}

TEST_CASE("GPUs that may not read each other's memory are marked, and the mark is explained") {
  Machine machine = invent_machine("2 l40s");
  std::vector<Gpu>& gpus = machine.hosts[0].gpus.gpus;
  CHECK(!contains(machine_tree(machine), "!"));
  gpus[0].peer_access[gpus[1].pci] = false;
  const std::string text = machine_tree(machine);
  CHECK(contains(text, "    GPU 0     -           sockets!\n    GPU 1     sockets     -\n"));
  CHECK(contains(text, "    !         without access to its memory\n"));
}

TEST_CASE("what was measured is shown, and survives a file") {
  Machine machine = invent_machine("2 hosts x 1 epyc-9654");
  machine.hosts[0].read_gbps = 380.5, machine.hosts[1].read_gbps = 391;
  machine.measured_links = {{0, 1, 1.25, 48.5, "ucx"}};
  const std::string text = machine_tree(machine);
  CHECK(contains(text, "  memory reads   380.5 to 391.0 GB/s, measured\n"));
  CHECK(contains(text, "measured between ranks, one way\n     0 to 1         1.25 us     48.50 GB/s  ucx\n"));
  nlohmann::json json = nlohmann::json::parse(machine_to_json(machine).dump());
  CHECK(machine_from_json(json, "m.json") == machine);
  json["measured_links"][0]["to"] = 2;
  CHECK(contains(testkit::error_of([&] { machine_from_json(json, "m.json"); }),
                 R"(65: m.json: field "to" of the measured link must be a whole number from 0 to 1)"));
}

TEST_CASE("a file's PCI addresses are ones, or refused by field") {
  const nlohmann::json good = nlohmann::json::parse(machine_to_json(invent_machine("2 h100, 1 ib400")).dump());
  const auto refused = [&](const char* field, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad.at(nlohmann::json::json_pointer(std::string("/hosts/0/") + field)) = value;
    return testkit::error_of([&] { machine_from_json(bad, "m.json"); });
  };
  CHECK(contains(refused("nics/0/pci_path/0", "\x01"), R"(65: m.json: field "pci_path" of the network adapter must)"));
  CHECK(contains(refused("gpus/0/pci_path/1", "bus 7"), R"(field "pci_path" of the GPU must be PCI addresses)"));
  CHECK(contains(refused("gpus/0/pci", "7"), R"(field "pci" of the GPU must be PCI addresses)"));
  CHECK(contains(refused("gpus/0/peer_access", {{"7", true}}), R"(field "peer_access" of the GPU must be PCI)"));
}

}  // namespace trireme
