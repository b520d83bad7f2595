#include "topology/invent.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "testkit/error_of.h"
#include "topology/machine_compare.h"
#include "topology/machine_json.h"

namespace trireme {

using testkit::contains;
using testkit::error_of;

TEST_CASE("a description becomes hosts, GPUs, adapters, and a rank on each GPU") {
  const Machine machine = invent_machine("2 hosts x 8 h100 nvswitch, 8 ib400");
  CHECK(machine.hosts.size() == 2);
  CHECK(machine.size() == 16);
  CHECK(machine.ranks_on(1) == std::vector<int>{8, 9, 10, 11, 12, 13, 14, 15});
  CHECK(machine.hosts[1].name == "host1");
  CHECK(machine.gpu_of_rank(9)->index == 1);
  CHECK(machine.ranks[9].domain == 8);
  CHECK(machine.ranks[9].visible_gpus.size() == 8);
  CHECK(machine.available_bytes(9) == int64_t{81559} << 20);
  CHECK(differences(machine.hosts[0], machine.hosts[1]).empty());
}

TEST_CASE("GPUs and adapters are spread over two NUMA nodes, an adapter behind the switch of its GPU") {
  const Host host = invent_machine("8 h100, 4 ib400").hosts[0];
  CHECK(host.packages() == 2);
  for (int i = 0; i < 8; i++) CHECK(host.gpus.gpus[static_cast<size_t>(i)].numa == i / 4);
  const Gpu &second = host.gpus.gpus[2], &third = host.gpus.gpus[3];
  const HostNic& nic = host.nics[1];
  CHECK(nic.name == "ib1");
  CHECK(nic.pci_path[1] == second.pci_path[1]);
  CHECK(nic.pci_path[0] != third.pci_path[0]);
  CHECK(nic.numa == 0);
  CHECK(host.nics[2].numa == 1);
  CHECK(second.pci == "0000" + second.pci_path.back());
}

TEST_CASE("links: a switch, bridged pairs, none, and a fabric over hosts") {
  const Host switched = invent_machine("4 h100 nvswitch").hosts[0],
             pairs = invent_machine("4 a100-80gb nvlink-pairs").hosts[0], pcie = invent_machine("4 l40s").hosts[0];
  CHECK(switched.gpus.gpus[0].switch_links == 18);
  CHECK(switched.gpus.gpus[0].peer_access.size() == 3);
  CHECK(pairs.gpus.gpus[2].peer_links == std::map<std::string, int>{{pairs.gpus.gpus[3].pci, 12}});
  CHECK(pcie.gpus.gpus[0].switch_links == 0);
  CHECK(pcie.gpus.gpus[0].peer_links.empty());
  const Machine fabric = invent_machine("36 hosts x 4 gb200");
  CHECK(fabric.hosts[17].gpus.gpus[3].fabric == "invented/0");
  CHECK(fabric.hosts[18].gpus.gpus[0].fabric == "invented/1");
}

TEST_CASE("a rank may use the CPUs beside its GPU, or those of its socket") {
  const Machine gpus = invent_machine("4 h100"), sockets = invent_machine("2 hosts x 2 epyc-9654"),
                hwloc = invent_machine("package:2 numa:1 core:8 pu:2");
  CHECK(gpus.hosts[0].numa_of(gpus.ranks[3].allowed) == std::vector<int>{1});
  CHECK(sockets.size() == 4);
  CHECK(sockets.hosts[0].numa_of(sockets.ranks[3].allowed) == std::vector<int>{1});
  CHECK(sockets.hosts[0].memory_bytes == uint64_t{2 * 786432} << 20);
  CHECK(hwloc.size() == 2);
  CHECK(hwloc.ranks[1].allowed.size() == 16);
}

TEST_CASE("an invented machine survives a file") {
  for (const char* description : {"2 hosts x 8 h100 nvswitch, 8 ib400", "2 hosts x 2 a100-80gb nvlink-pairs, 1 roce100",
                                  "3 hosts x 1 raspberry-pi-5", "package:2 core:4 pu:1"}) {
    const Machine machine = invent_machine(description);
    CHECK(machine_from_json(nlohmann::json::parse(machine_to_json(machine).dump()), "m.json") == machine);
  }
}

TEST_CASE("what is no machine, or too large a one, is refused in words") {
  CHECK(contains(error_of([] { invent_machine("two big ones"); }), "64: 'two big ones' describes no machine"));
  CHECK(contains(error_of([] { invent_machine(""); }), "64: '' describes no machine"));
  CHECK(contains(error_of([] { invent_machine("2 hosts x 8 h1000"); }),
                 "64: --synthetic '2 hosts x 8 h1000', column 13"));
  CHECK(contains(error_of([] { invent_machine("package:two"); }), "64: hwloc cannot read"));
  for (const char* crowd : {"package:1000 core:100 pu:1", "package:100 [numa(memory=1GB)] core:100(indexes=1) pu:20"})
    CHECK(contains(error_of([&] { invent_machine(crowd); }), "is too large to invent; take at most 16384 CPUs"));
  CHECK(contains(error_of([] { invent_machine("1 host x 65 h100"); }), "too large to invent"));
  CHECK(contains(error_of([] { invent_machine("1000 hosts x 64 h100"); }), "too large to invent"));
  CHECK(contains(error_of([] { invent_machine("1 h100, 9 ib400"); }), "too large to invent"));
}

}  // namespace trireme
