#include "topology/machine_cluster.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "testkit/error_of.h"
#include "topology/invent.h"
#include "topology/machine_json.h"

using namespace trireme;
using testkit::contains;
using testkit::error_of;

namespace {

Machine golden(const std::string& name) {
  std::ifstream file(fmt::format("{}/{}.json", TRIREME_GOLDEN_MACHINES, name));
  return machine_from_json(nlohmann::json::parse(file)["machine"], name);
}

Cluster cluster_of_golden(const std::string& name) { return cluster_of(golden(name)); }

std::string remarks_of(const Cluster& cluster) { return fmt::format("{}", fmt::join(cluster.remarks, "\n")); }

// One host of `cores` cores with all of them allowed to one rank.
Machine cpu_machine(int cores, const std::string& model = "") {
  Machine machine = invent_machine(fmt::format("package:1 core:{} pu:2", cores));
  machine.hosts[0].cpu_model = model;
  machine.ranks[0].available_bytes = int64_t{64} << 30;
  return machine;
}

}  // namespace

TEST_CASE("an invented machine is the cluster that it was invented from") {
  for (const char* spec :
       {"2 hosts x 8 h100 nvswitch, 8 ib400", "1 host x 4 a100-80gb nvlink-pairs", "1 host x 8 l40s pcie",
        "1 host x 2 rtx-4090 pcie", "18 hosts x 4 gb200 nvswitch, 4 ib400"}) {
    const Cluster c = cluster_of(invent_machine(spec));
    CHECK(c.text() == spec);
    CHECK(c.cores == 0);
    CHECK(c.fast_domain() == Cluster::parse(spec).fast_domain());
    CHECK(c.device.memory_bytes == Cluster::parse(spec).device.memory_bytes);
  }
}

TEST_CASE("GPUs are known by what their drivers call them, with the memory that they have") {
  const Cluster h100 = cluster_of_golden("dgx_h100"), a100 = cluster_of_golden("dgx_a100");
  CHECK(h100.text() == "1 host x 8 h100 nvswitch, 10 ib400");
  CHECK(h100.device.memory_bytes == 84825604096.0);
  CHECK(h100.device.memory_bytes_per_s == find_device_sheet("h100")->memory_bytes_per_s);
  CHECK(contains(remarks_of(h100),
                 "84.8 GB of memory as the driver has it; rates are the data sheet's of h100 (NVIDIA H100"));
  CHECK(a100.device.name.starts_with("a100-"));
  CHECK(cluster_of_golden("hgx_b200").device.name == "b200");
  CHECK(cluster_of_golden("rtx4090_4").device.name == "rtx-4090");
  CHECK(cluster_of_golden("gh200_four").text() == "4 hosts x 1 gh200 pcie, 1 ib400");
}

TEST_CASE("every name that a driver has for a GPU is of one data sheet") {
  constexpr uint64_t kGi = uint64_t{1} << 30;
  const std::tuple<const char*, uint64_t, const char*> known[] = {
      {"NVIDIA A100-SXM4-40GB", 40 * kGi, "a100-40gb"},
      {"NVIDIA A100-SXM4-80GB", 80 * kGi, "a100-80gb"},
      {"NVIDIA A100-PCIE-40GB", 40 * kGi, "a100-pcie-40gb"},
      {"NVIDIA A100 80GB PCIe", 80 * kGi, "a100-pcie-80gb"},
      {"NVIDIA H100 80GB HBM3", 80 * kGi, "h100"},
      {"NVIDIA H100 PCIe", 80 * kGi, "h100-pcie"},
      {"NVIDIA H100 NVL", 94 * kGi, "h100-nvl"},
      {"NVIDIA H200", 141 * kGi, "h200"},
      {"NVIDIA H200 NVL", 141 * kGi, "h200-nvl"},
      {"NVIDIA GH200 480GB", 96 * kGi, "gh200"},
      {"GH200 120GB", 96 * kGi, "gh200"},
      {"NVIDIA H20", 96 * kGi, "h20"},
      {"NVIDIA B200", 180 * kGi, "b200"},
      {"NVIDIA GB200", 186 * kGi, "gb200"},
      {"NVIDIA B300 SXM6 AC", 269 * kGi, "b300"},
      {"NVIDIA GB300", 278 * kGi, "gb300"},
      {"NVIDIA A10", 22 * kGi, "a10"},
      {"NVIDIA A30", 24 * kGi, "a30"},
      {"NVIDIA A40", 45 * kGi, "a40"},
      {"NVIDIA L4", 22 * kGi, "l4"},
      {"NVIDIA L40S", 45 * kGi, "l40s"},
      {"NVIDIA RTX A6000", 48 * kGi, "rtx-a6000"},
      {"NVIDIA GeForce RTX 4090", 24 * kGi, "rtx-4090"},
      {"NVIDIA GeForce RTX 5090", 32 * kGi, "rtx-5090"},
      {"NVIDIA RTX PRO 6000 Blackwell Server Edition", 95 * kGi, "rtx-pro-6000-server"},
      {"NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 95 * kGi, "rtx-pro-6000"},
      {"NVIDIA A10G", 22 * kGi, "a10g"},
      {"NVIDIA RTX 6000 Ada Generation", 47 * kGi, "rtx-6000-ada"},
  };
  Machine machine = invent_machine("1 h100");
  Gpu& gpu = machine.hosts[0].gpus.gpus[0];
  for (const auto& [name, bytes, sheet] : known) {
    CAPTURE(name);
    gpu.name = name, gpu.memory_bytes = bytes;
    CHECK(cluster_of(machine).device.name == sheet);
    CHECK(cluster_of(machine).device.memory_bytes == double(bytes));
  }
  for (const char* name : {"NVIDIA A10M", "NVIDIA H800 PCIe", "NVIDIA GeForce RTX 3090 Ti", "NVIDIA RTX A4000",
                           "NVIDIA L40", "NVIDIA A100G"}) {  // others, of like names
    CAPTURE(name);
    gpu.name = name;
    CHECK(contains(error_of([&] { cluster_of(machine); }), fmt::format("there is no data sheet of {};", name)));
  }
}

TEST_CASE("links are those of the weakest GPU") {
  CHECK(cluster_of_golden("h100_pcie_4").link == Link::pcie);
  CHECK(cluster_of_golden("l40s_8_p2p").link == Link::pcie);
  CHECK(cluster_of_golden("h100_nvl_8").link == Link::nvlink_pairs);
  CHECK(cluster_of_golden("a100_pcie_bridges").link == Link::nvlink_pairs);
  CHECK(cluster_of_golden("h100_nvl_8").fast_domain() == 2);
  CHECK(cluster_of(invent_machine("8 h200-nvl")).fast_domain() == 4);
  CHECK(cluster_of_golden("h100_sxm_4_full_mesh").link == Link::nvswitch);  // each reaches all others
  Machine machine = invent_machine("8 h100 nvswitch");
  machine.hosts[0].gpus.gpus[5].switch_links = 0;
  CHECK(cluster_of(machine).link == Link::pcie);
}

TEST_CASE("an NVSwitch fabric over hosts ends where the driver says") {
  CHECK(cluster_of(invent_machine("36 hosts x 4 gb200")).fast_domain() == 72);
  CHECK(cluster_of_golden("gb200_two_cliques").fast_domain() == 8);
}

TEST_CASE("GPUs that no rank may use do not count; an instance has its part of one") {
  Machine machine = invent_machine("8 h100");
  for (Rank& rank : machine.ranks) {
    rank.visible_gpus = {machine.hosts[0].gpus.gpus[2].uuid, machine.hosts[0].gpus.gpus[3].uuid};
    rank.gpu.clear();
  }
  CHECK(cluster_of(machine).devices == 2);
  machine.ranks.clear(), machine.host_of.clear();
  CHECK(cluster_of(machine).devices == 8);  // a map without ranks
  const Cluster mig = cluster_of_golden("a100_mig_7");
  CHECK(mig.devices == 7);
  CHECK(mig.link == Link::pcie);
  CHECK(mig.device.memory_bytes == double(int64_t{9} << 30));
  CHECK(mig.device.memory_bytes_per_s < 0.15 * find_device_sheet("a100-80gb")->memory_bytes_per_s);
  CHECK(contains(remarks_of(mig), "an instance's part of the data sheet's"));
}

TEST_CASE("hosts that differ count as the weakest, and it says so") {
  const Cluster pair = cluster_of_golden("heterogeneous_pair");
  CHECK(pair.device.name == "a100-40gb");
  CHECK(contains(remarks_of(pair), "hosts differ (n0 and n1: "));
  CHECK(cluster_of_golden("hosts_8_4").text() == "2 hosts x 4 h100 nvswitch, 2 ib400");
  Machine machine = invent_machine("3 hosts x 8 h100, 8 ib400");
  CHECK(!contains(remarks_of(cluster_of(machine)), "differ"));
  machine.hosts[2].nics.resize(1);
  CHECK(cluster_of(machine).nics == 1);
}

TEST_CASE("adapters: the fastest kind, how many of it") {
  Machine machine = invent_machine("2 hosts x 2 h100");
  const auto nic = [](const char* kind) { return HostNic{.name = kind, .nic = *Nic::parse(kind)}; };
  for (Host& host : machine.hosts) host.nics = {nic("eth25"), nic("ib200"), nic("eth"), nic("ib200")};
  CHECK(cluster_of(machine).text() == "2 hosts x 2 h100 nvswitch, 2 ib200");
  for (Host& host : machine.hosts) host.nics = {nic("eth")};
  CHECK(cluster_of(machine).nics_assumed);  // of unknown rate
}

TEST_CASE("a GPU of which there is no data sheet is named") {
  CHECK(contains(error_of([] { cluster_of_golden("dgx1_v100"); }),
                 "78: there is no data sheet of Tesla V100-SXM2-32GB; describe the machine in a JSON file"));
  CHECK(contains(error_of([] { cluster_of_golden("driver_shows_nothing"); }),
                 "78: the driver of n0 does not show GPU GPU-0"));
}

TEST_CASE("CPUs are one device a host, whose cores ranks may divide") {
  Machine machine = cpu_machine(16);
  const Cluster c = cluster_of(machine);
  CHECK(c.text() == "1 host x 16 cores");
  CHECK(c.cores == 16);  // two hardware threads each
  CHECK(c.devices == 1);
  CHECK(c.device.cpu);
  CHECK(c.device.memory_bytes == double(int64_t{64} << 30));
  CHECK(c.device.memory_bytes_per_s == 64e9);
  CHECK(c.device.bf16_flops == 1600e9);
  CHECK(contains(remarks_of(c), "the CPUs read 64.0 GB/s of it, a guess by its cores"));
  machine.ranks[0].allowed = {0, 1, 2, 3, 4, 5};
  CHECK(cluster_of(machine).cores == 3);
  machine.ranks[0].cpu_quota = 2.5;
  CHECK(cluster_of(machine).cores == 2);
}

TEST_CASE("what is measured of CPUs counts, else the data sheet of their model, by core") {
  Machine machine = cpu_machine(24, "AMD EPYC 9654 96-Core Processor");  // a VM
  const DeviceSheet sheet = *find_device_sheet("epyc-9654");
  CHECK(cluster_of(machine).text() == "1 host x 24 cores of epyc-9654");
  CHECK(cluster_of(machine).device.memory_bytes_per_s == sheet.memory_bytes_per_s / 4);
  CHECK(contains(remarks_of(cluster_of(machine)), "by the data sheet of epyc-9654"));
  machine.hosts[0].read_gbps = 80;
  const Cluster c = cluster_of(machine, {.bf16_flops = 3e12, .int8_ops = 6e12});
  CHECK(c.device.memory_bytes_per_s == 80e9);
  CHECK(c.device.bf16_flops == 3e12);
  CHECK(contains(remarks_of(c),
                 "the CPUs read 80.0 GB/s of it, measured\nthey do 3000 GFLOP/s and 6000 GOP/s in INT8, measured"));
  const Cluster sockets = cluster_of(invent_machine("2 hosts x 2 epyc-9654, 1 ib400"));
  CHECK(sockets.text() == "2 hosts x 192 cores of epyc-9654, 1 ib400");
  CHECK(sockets.device.memory_bytes_per_s == 2 * sheet.memory_bytes_per_s);
  CHECK(sockets.device.memory_bytes == 2 * sheet.memory_bytes);
}

TEST_CASE("of CPU hosts the least memory and the fewest cores count") {
  const Cluster c = cluster_of_golden("small_memory_on_one_host");
  CHECK(c.text() == "2 hosts x 8 cores, 1 eth10");
  CHECK(c.device.memory_bytes == double(int64_t{12} << 30));
  CHECK(!c.nics_assumed);
}

TEST_CASE("every golden machine is a cluster, or says why not") {
  for (const auto& entry : std::filesystem::directory_iterator(TRIREME_GOLDEN_MACHINES)) {
    const std::string name = entry.path().stem();
    CAPTURE(name);
    const std::string error = error_of([&] {
      const Cluster c = cluster_of_golden(name);
      CHECK(c.size() > 0);
      CHECK(c.device.memory_bytes > 1e9);
      CHECK(c.device.memory_bytes_per_s > 1e9);
      CHECK(c.device.cpu == (c.cores > 0));
      CHECK((c.hosts == 1 || c.nics > 0));
    });
    CHECK((error.empty() || error.starts_with("78: ")));
  }
}
