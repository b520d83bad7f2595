#include "topology/nic.h"

#include <doctest/doctest.h>

#include "testkit/fake_sysfs.h"
#include "topology/pci.h"

namespace trireme {

namespace {

using testkit::FakeSysfs;

// "mlx5_0 ib400 numa 1"; a line each.
std::string shown(const FakeSysfs& sysfs) {
  std::string text;
  for (const HostNic& nic : probe_nics(sysfs.root()))
    text += nic.name + " " + nic.nic.text() + " numa " + std::to_string(nic.numa) + "\n";
  return text;
}

}  // namespace

TEST_CASE("an InfiniBand adapter: its rate, NUMA node and way through the PCI bridges") {
  FakeSysfs sysfs;
  const std::string device = "pci0000:17/0000:17:01.0/0000:18:00.0/0000:1a:00.0";
  sysfs.pci(device, 1);
  sysfs.ib_port("mlx5_0", device, 1, "InfiniBand", "400 Gb/sec (4X NDR)");
  const std::vector<HostNic> nics = probe_nics(sysfs.root());
  REQUIRE(nics.size() == 1);
  CHECK(nics[0] == HostNic{.name = "mlx5_0",
                           .nic = {Nic::Kind::infiniband, 400},
                           .numa = 1,
                           .pci_path = {"0000:17:01.0", "0000:18:00.0", "0000:1a:00.0"}});
}

TEST_CASE("the ports of one adapter are told apart; those that are down are not there") {
  FakeSysfs sysfs;
  sysfs.ib_port("mlx4_0", "pci0000:00/0000:00:03.0", 1, "InfiniBand", "56 Gb/sec (4X FDR)");
  sysfs.ib_port("mlx4_0", "pci0000:00/0000:00:03.0", 2, "Ethernet", "40 Gb/sec (4X QDR)");
  sysfs.ib_port("mlx4_1", "pci0000:00/0000:00:04.0", 1, "InfiniBand", "10 Gb/sec (4X SDR)", "1: DOWN");
  CHECK(shown(sysfs) == "mlx4_0:1 ib56 numa -1\nmlx4_0:2 roce40 numa -1\n");
}

TEST_CASE("a RoCE adapter's Ethernet interface, and IP over InfiniBand, are not counted twice") {
  FakeSysfs sysfs;
  sysfs.pci("pci0000:00/0000:00:02.0", 0), sysfs.pci("pci0000:00/0000:00:03.0", 0);
  sysfs.ib_port("mlx5_0", "pci0000:00/0000:00:02.0", 1, "Ethernet", "100 Gb/sec (4X EDR)");
  sysfs.net("ens2", "pci0000:00/0000:00:02.0", "100000");
  sysfs.ib_port("mlx5_1", "pci0000:00/0000:00:03.0", 1, "InfiniBand", "200 Gb/sec (4X HDR)");
  sysfs.net("ib0", "pci0000:00/0000:00:03.0", "200000", "up", "32");
  sysfs.net("eno1", "pci0000:00/0000:00:04.0", "25000");
  CHECK(shown(sysfs) == "mlx5_0 roce100 numa 0\nmlx5_1 ib200 numa 0\neno1 eth25 numa -1\n");
}

TEST_CASE("the Ethernet interface of an adapter whose RDMA port is down counts as one") {
  FakeSysfs sysfs;
  sysfs.ib_port("mlx5_0", "pci0000:00/0000:00:02.0", 1, "Ethernet", "100 Gb/sec (4X EDR)", "1: DOWN");
  sysfs.net("ens2", "pci0000:00/0000:00:02.0", "100000");
  CHECK(shown(sysfs) == "ens2 eth100 numa -1\n");
}

TEST_CASE("what a kernel makes up is no adapter") {
  FakeSysfs sysfs;
  for (const char* name : {"lo", "docker0", "veth12ab", "bond0", "br-lan"}) sysfs.net(name, "", "10000");
  sysfs.ib_port("rxe0", "", 1, "Ethernet", "2.5 Gb/sec (1X SDR)");  // software over eth0
  sysfs.net("eth0", "pci0000:00/0000:00:05.0", "10000");
  sysfs.net("wlan0", "pci0000:00/0000:00:06.0", "600");
  sysfs.put("sys/class/net/wlan0/wireless/status", "0");
  sysfs.net("usb0", "pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0", "425");
  sysfs.net("eth0_0", "pci0000:00/0000:00:05.0", "10000");
  sysfs.put("sys/class/net/eth0_0/phys_port_name", "pf0vf0");
  CHECK(shown(sysfs) == "eth0 eth10 numa -1\n");
}

TEST_CASE("virtual functions count in the VM that has them, and not beside their adapter") {
  FakeSysfs host, vm;
  host.ib_port("mlx5_0", "pci0000:00/0000:00:02.0", 1, "InfiniBand", "200 Gb/sec (4X HDR)");
  host.ib_port("mlx5_1", "pci0000:00/0000:00:02.1", 1, "InfiniBand", "200 Gb/sec (4X HDR)");
  host.link("sys/devices/pci0000:00/0000:00:02.1/physfn", "sys/devices/pci0000:00/0000:00:02.0");
  vm.ib_port("mlx5_1", "LNXSYSTM:00/VMBUS:00/47505500-0001/pci0001:00/0001:00:02.0", 1, "InfiniBand",
             "200 Gb/sec (4X HDR)");
  CHECK(shown(host) == "mlx5_0 ib200 numa -1\n");
  REQUIRE(probe_nics(vm.root()).size() == 1);
  CHECK(probe_nics(vm.root())[0].pci_path == std::vector<std::string>{"0001:00:02.0"});
}

TEST_CASE("an unknown speed is unknown, and an adapter without a PCI path is one") {
  FakeSysfs sysfs;
  sysfs.net("eth0", "pci0000:00/0000:00:03.0/virtio0", "-1");
  sysfs.net("eth1", "pci0000:00/0000:00:04.0", "Unknown!", "unknown");
  sysfs.net("eth2", "pci0000:00/0000:00:05.0", "4294967295");
  sysfs.net("eth3", "vmbus/7f3a", "40000");
  sysfs.net("eth10", "pci0000:00/0000:00:06.0", "1000", "down");
  sysfs.net("eth20", "pci0000:00/0000:00:07.0", "1000");
  CHECK(shown(sysfs) ==
        "eth0 eth numa -1\neth1 eth numa -1\neth2 eth numa -1\neth3 eth40 numa -1\neth20 eth1 numa -1\n");
  CHECK(probe_nics(sysfs.root())[0].pci_path == std::vector<std::string>{"0000:00:03.0"});
  CHECK(probe_nics(sysfs.root())[3].pci_path.empty());
}

TEST_CASE("no sysfs, files where folders belong and links to nowhere are normal") {
  FakeSysfs sysfs;
  CHECK(probe_nics(sysfs.root() + "/nothing").empty());
  sysfs.put("sys/class/net/bonding_masters", "bond0");
  sysfs.put("sys/class/infiniband/mlx5_0/ports", "a file");
  sysfs.link("sys/class/infiniband/mlx5_0/device", "sys/devices/pci0000:00/0000:00:02.0");
  std::filesystem::create_directory_symlink("../nowhere", sysfs.root() + "/sys/class/net/eth9");
  CHECK(probe_nics(sysfs.root()).empty());
}

TEST_CASE("PCI addresses, as sysfs and as NVML write them") {
  CHECK(pci_address("00000000:1B:00.0") == "0000:1b:00.0");
  CHECK(pci_address("10000:e1:1f.7") == "10000:e1:1f.7");
  for (const char* none : {"", "pci0000:00", "0000:00", "usb1", "1-1:1.0", "0000:00:20.0", "0000:100:00.0", "0:0:0.8",
                           "0000:00:02.0x", "7f3a-12"})
    CHECK(pci_address(none).empty());
}

TEST_CASE("an adapter of unknown rate has a name, and describes no cluster") {
  CHECK(Nic{Nic::Kind::ethernet, 0}.text() == "eth");
  CHECK(Nic::parse("eth") == Nic{Nic::Kind::ethernet, 0});
  CHECK(Nic::parse("eth0") == std::nullopt);
}

}  // namespace trireme
