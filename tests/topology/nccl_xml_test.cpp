#include "topology/nccl_xml.h"

#include <doctest/doctest.h>

#include "testkit/error_of.h"
#include "testkit/fake_sysfs.h"
#include "topology/invent.h"
#include "topology/machine_text.h"

namespace trireme {

namespace {

using testkit::contains;
using testkit::error_of;

std::string refused(const std::string& xml) {
  return error_of([&] { host_from_nccl_xml(xml, "topo.xml"); });
}

std::string written_again(const std::string& xml) { return nccl_xml(host_from_nccl_xml(xml, "topo.xml"), ""); }

// Two GPUs, one of them split off on the other node, and an adapter each, as NCCL writes them.
constexpr const char* kXml = R"(<system version="1">
  <cpu host_hash="0x1" numaid="0" affinity="00000000,0000000f" arch="x86_64" vendor="AuthenticAMD" familyid="175" modelid="1">
    <pci busid="0000:01:00.0" class="0x060400" vendor="0x1000" device="0xc030" link_speed="32.0 GT/s PCIe" link_width="16">
      <pci busid="0000:03:00.0" class="0x030200" vendor="0x10de" device="0x2330" link_speed="32.0 GT/s PCIe" link_width="16">
        <gpu dev="0" sm="90" rank="0" gdr="1">
          <nvlink target="0000:0b:00.0" count="4" tclass="0x068000"/>
          <nvlink target="0000:0c:00.0" count="5" tclass="0x068000"/>
          <c2c bw="1" count="1"/>
        </gpu>
      </pci>
      <pci busid="0000:04:00.0" class="0x020700" link_speed="32.0 GT/s PCIe" link_width="16">
        <nic>
          <net name="mlx5_0" dev="0" speed="400000" port="1" latency="0.000000" guid="0x1" maxconn="131072" gdr="1"/>
        </nic>
      </pci>
    </pci>
  </cpu>
  <cpu numaid="1" affinity="00000000,000000f0" arch="x86_64">
    <pci busid="0001:05:00.0" class="0x030200" link_speed="" link_width="">
      <gpu dev="1" sm="80" rank="1" gdr="0">
        <nvlink target="0000:03:00.0" count="2" tclass="0x030200"/>
      </gpu>
    </pci>
    <nic>
      <net name="eth0" dev="1" speed="25000" port="2"/>
    </nic>
  </cpu>
</system>
)";

}  // namespace

TEST_CASE("NCCL's topology becomes a host") {
  const Host host = host_from_nccl_xml(kXml, "topo.xml");
  CHECK(host.cpus.size() == 8);
  CHECK(host.numa_of({0, 4}) == std::vector<int>{0, 1});
  REQUIRE(host.gpus.gpus.size() == 2);
  const Gpu &first = host.gpus.gpus[0], &second = host.gpus.gpus[1];
  CHECK(first.name == "h100");  // by its PCI number; the other has none
  CHECK(second.name.empty());
  CHECK(first.architecture == 90);
  CHECK(first.switch_links == 9);
  CHECK(first.pci == "00000000:03:00.0");
  // A switch is two ports, of which NCCL names one.
  CHECK(first.pci_path == std::vector<std::string>{"0000:01:00.0", "0000:01:00.0", "0000:03:00.0"});
  CHECK(second.peer_links == std::map<std::string, int>{{first.pci, 2}});
  CHECK(second.numa == 1);
  REQUIRE(host.nics.size() == 2);
  CHECK(host.nics[0].nic.text() == "ib400");
  CHECK(pci_relation(first.pci_path, 0, host.nics[0].pci_path, 0) == "switch");
  CHECK(host.nics[1] == HostNic{.name = "eth0:2", .nic = {Nic::Kind::ethernet, 25}, .numa = 1});
}

TEST_CASE("a host becomes NCCL's topology, with what sysfs says of its devices") {
  testkit::FakeSysfs sysfs;
  sysfs.pci("pci0000:10/0000:10:01.0/0000:11:00.0/0000:12:00.0/0000:13:00.0", 0);
  for (auto [name, value] : {std::pair{"class", "0x030200"},
                             {"vendor", "0x10de"},
                             {"max_link_speed", "32.0 GT/s PCIe"},
                             {"max_link_width", "16"}})
    sysfs.put("sys/bus/pci/devices/0000:13:00.0/" + std::string(name), value);
  const std::string xml = nccl_xml(invent_machine("2 h100, 1 ib400").hosts[0], sysfs.root());
  CHECK(contains(xml, R"(<system version="1">)"));
  CHECK(contains(xml, R"(<cpu numaid="0" affinity="ffffffff")"));
  CHECK(contains(xml, R"(<cpu numaid="1" affinity="ffffffff,00000000")"));
  // NCCL, too, names the switch's upper port alone.
  CHECK(contains(xml, R"(    <pci busid="0000:11:00.0" class="0x060400" link_speed="" link_width="">
      <pci busid="0000:13:00.0" class="0x030200" vendor="0x10de" link_speed="32.0 GT/s PCIe" link_width="16">
        <gpu dev="0" rank="0">
          <nvlink target="fffffff:ffff:ff" count="18" tclass="0x068000" />
        </gpu>
      </pci>
      <pci busid="0000:14:00.0" class="0x020700" link_speed="" link_width="">
        <nic>
          <net name="ib0" dev="0" speed="400000" port="1" />)"));
}

TEST_CASE("what was written is read again: CPUs, NUMA nodes, links, rates, common switches") {
  for (const char* description :
       {"8 h100 nvswitch, 8 ib400", "4 a100-80gb nvlink-pairs, 2 roce100", "2 l40s, 1 eth25"}) {
    const Host host = invent_machine(description).hosts[0], read = host_from_nccl_xml(nccl_xml(host, ""), "topo.xml");
    CHECK(read.cpus == host.cpus);
    REQUIRE(read.gpus.gpus.size() == host.gpus.gpus.size());
    for (size_t i = 0; i < host.gpus.gpus.size(); i++) {
      const Gpu &before = host.gpus.gpus[i], &after = read.gpus.gpus[i];
      CHECK(after.pci == before.pci);
      CHECK(after.numa == before.numa);
      CHECK(after.switch_links == before.switch_links);
      CHECK(after.peer_links == before.peer_links);
    }
    REQUIRE(read.nics.size() == host.nics.size());
    for (size_t i = 0; i < host.nics.size(); i++) {
      CHECK(read.nics[i].nic.gbit_per_s == host.nics[i].nic.gbit_per_s);
      CHECK(pci_relation(read.nics[i].pci_path, 0, read.gpus.gpus[0].pci_path, 0) ==
            pci_relation(host.nics[i].pci_path, 0, host.gpus.gpus[0].pci_path, 0));
    }
  }
}

TEST_CASE("switches of NCCL's topology are written again as they were read, however deep") {
  CHECK(contains(written_again(kXml), R"(    <pci busid="0000:01:00.0" class="0x060400" link_speed="" link_width="">
      <pci busid="0000:03:00.0" class="0x030200" link_speed="" link_width="">
        <gpu dev="0" sm="90" rank="0">)"));
  const std::string deep = written_again(R"(<system><cpu numaid="0"><pci busid="0000:01:00.0">
    <pci busid="0000:02:00.0"><pci busid="0000:03:00.0"><gpu dev="0"/></pci></pci>
    <pci busid="0000:04:00.0"><nic><net name="mlx5_0"/></nic></pci></pci></cpu></system>)");
  CHECK(contains(deep, R"(
    <pci busid="0000:01:00.0" class="0x060400" link_speed="" link_width="">
      <pci busid="0000:02:00.0" class="0x060400" link_speed="" link_width="">
        <pci busid="0000:03:00.0" class="0x030200" link_speed="" link_width="">
          <gpu dev="0" rank="0" />
        </pci>
      </pci>
      <pci busid="0000:04:00.0" class="0x020000" link_speed="" link_width="">
        <nic>)"));
  for (const std::string& once : {written_again(kXml), deep}) CHECK(written_again(once) == once);
}

TEST_CASE("a VM without PCI paths or NUMA nodes has a topology, too") {
  Host host = invent_machine("1 h100, 1 eth25").hosts[0];
  host.gpus.gpus[0].pci_path.clear(), host.gpus.gpus[0].numa = -1;
  host.nics[0].pci_path.clear(), host.nics[0].numa = -1;
  const Host read = host_from_nccl_xml(nccl_xml(host, ""), "topo.xml");
  CHECK(read.gpus.gpus[0].numa == -1);
  CHECK(read.gpus.gpus[0].pci == host.gpus.gpus[0].pci);
  CHECK(read.nics[0].nic.text() == "eth25");
}

TEST_CASE("a name that XML cannot hold is written without what it cannot") {
  Host host = invent_machine("1 h100, 1 eth25").hosts[0];
  host.nics[0].name = "eth\x01";
  CHECK(contains(nccl_xml(host, ""), R"(name="eth?")"));
}

TEST_CASE("hostile XML is refused by name") {
  CHECK(contains(refused("<system"), "65: topo.xml: byte "));
  CHECK(contains(refused("<graphs version=\"1\"/>"), "has no <system>"));
  CHECK(
      contains(refused(R"(<system><cpu numaid="x"/></system>)"), R"("numaid" of the <cpu> at byte 9 must be a whole)"));
  CHECK(contains(refused(R"(<system><cpu affinity="0g"/></system>)"),
                 R"("affinity" of the <cpu> at byte 9 must be a mask)"));
  CHECK(contains(refused(R"(<system><cpu affinity="1"/><cpu affinity="1"/></system>)"), "CPU 0 stands in"));
  CHECK(contains(refused("<system><cpu affinity=\"" + std::string(5000, 'f') + "\"/></system>"), "at most 16384 CPUs"));
  CHECK(contains(refused(R"(<system><cpu><pci busid="7"/></cpu></system>)"), "must be a PCI address"));
  const std::string pci = R"(<system><cpu><pci busid="0000:01:00.0">)", end = "</pci></cpu></system>";
  CHECK(contains(refused(pci + R"(<gpu dev="99999999999"/>)" + end), R"("dev" of the <gpu>)"));
  CHECK(contains(refused(pci + R"(<gpu><nvlink target="a" count="1"/></gpu>)" + end), R"("target" of the <nvlink>)"));
  std::string deep = "<system><cpu>";
  for (int i = 0; i < 100000; i++) deep += R"(<pci busid="0000:01:00.0">)";
  CHECK(contains(refused(deep), "65: topo.xml"));
  for (int i = 0; i < 100000; i++) deep += "</pci>";
  CHECK(contains(refused(deep + "</cpu></system>"), "nested deeper than 32"));
}

}  // namespace trireme
