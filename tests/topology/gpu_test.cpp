#include "topology/gpu.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <string>

#include "testkit/fake_sysfs.h"

namespace trireme {

namespace {

// What tests/testkit/nvml/fake_nvml.cpp shows for these words.
GpuProbe fake(const char* words) {
  ::setenv("TRIREME_TEST_NVML", words, 1);
  return probe_gpus(TRIREME_FAKE_NVML);
}

std::vector<int> indices(const std::vector<Gpu>& gpus) {
  std::vector<int> list;
  for (const Gpu& gpu : gpus) list.push_back(gpu.index);
  return list;
}

std::string text_of(const char* words) { return gpu_text(fake(words)); }

}  // namespace

TEST_CASE("a host without a driver is normal input, and says what it lacks") {
  const GpuProbe probe = probe_gpus("libnvidia-ml-of-nobody.so.1");
  CHECK(probe.gpus.empty());
  CHECK(gpu_text(probe) == "  GPUs           none: no NVIDIA driver (libnvidia-ml-of-nobody.so.1 is not there)\n");
}

TEST_CASE("a driver that does not start, shows no GPU, or none to this process") {
  CHECK(text_of("init=9") ==
        "  GPUs           none: NVIDIA's library is there, but does not start: Driver Not Loaded (9)\n");
  CHECK(text_of("") == "  GPUs           none: driver 550.54.15 has none\n");
  CHECK(text_of("refused refused") ==
        "  GPUs           none: driver 550.54.15 has 2, none for this process: Insufficient Permissions (4)\n");
  CHECK(indices(fake("h100 refused h100").gpus) == std::vector{0, 2});
}

TEST_CASE("a library without NVML's functions is an old or a foreign one") {
  CHECK(probe_gpus("libm.so.6").missing == "NVIDIA's library is there, but does not start: NVML error 13");
}

TEST_CASE("GPUs of an NVSwitch island") {
  const GpuProbe probe = fake("h100 h100 h100 h100 h100 h100 h100 h100");
  REQUIRE(probe.gpus.size() == 8);
  const Gpu& gpu = probe.gpus[1];
  CHECK(gpu.name == "NVIDIA H100 80GB HBM3");
  CHECK(gpu.uuid == "GPU-abc00001-0000-0000-0000-000000000000");
  CHECK(gpu.pci == "00000000:1b:00.0");
  CHECK(gpu.architecture == 90);
  CHECK(gpu.memory_bytes == uint64_t{80} << 30);
  CHECK(gpu.free_bytes == uint64_t{79} << 30);
  CHECK(gpu.switch_links == 18);
  CHECK(gpu.peer_links.empty());
  CHECK(gpu_text(probe) ==
        "  GPUs           8 x NVIDIA H100 80GB HBM3, 80 GiB, sm_90, 18 NVLinks to a switch\n"
        "  GPU driver     550.54.15, CUDA 12.4\n");
}

TEST_CASE("pairs, old GPUs and modes") {
  const GpuProbe probe = fake("a100-pair a100-pair t4 mig exclusive");
  REQUIRE(probe.gpus.size() == 5);
  CHECK(probe.gpus[0].peer_links == std::map<std::string, int>{{"00000000:1b:00.0", 12}});
  CHECK(probe.gpus[1].peer_links == std::map<std::string, int>{{"00000000:1a:00.0", 12}});
  CHECK(probe.gpus[2].peer_links.empty());
  CHECK_FALSE(probe.gpus[2].mig);
  CHECK(gpu_text(probe) ==
        "  GPUs           2 x NVIDIA A100 80GB PCIe, 80 GiB, sm_80, 12 NVLinks to 1 GPU\n"
        "  GPUs           1 x Tesla T4, 16 GiB, sm_75\n"
        "  GPUs           1 x NVIDIA H100 80GB HBM3, 80 GiB, sm_90, 18 NVLinks to a switch, MIG on\n"
        "  GPUs           1 x NVIDIA H100 80GB HBM3, 80 GiB, sm_90, 18 NVLinks to a switch, exclusive mode\n"
        "  GPU driver     550.54.15, CUDA 12.4\n");
}

TEST_CASE("CUDA_VISIBLE_DEVICES leaves what CUDA would") {
  const GpuProbe probe = fake("h100 h100 h100 h100");
  const auto left = [&](const char* value) { return indices(visible_gpus(probe.gpus, value)); };
  CHECK(indices(visible_gpus(probe.gpus, std::nullopt)) == std::vector{0, 1, 2, 3});
  CHECK(left("2,0") == std::vector{2, 0});
  CHECK(left("GPU-abc00003") == std::vector{3});
  CHECK(left("1,GPU-abc00002-0000") == std::vector{1, 2});
  CHECK(left("0,9,1") == std::vector{0});  // up to the first that names none
  CHECK(left("0,-1,1") == std::vector{0});
  CHECK(left("").empty());
  CHECK(left("-1").empty());
  CHECK(left("1,1").empty());
  CHECK(left("GPU-abc").empty());  // the beginning of all of them
  CHECK(left("1x").empty());
}

TEST_CASE("the most that its clocks reach, and whose memory a GPU may read") {
  const GpuProbe probe = fake("h100 h100 t4");
  REQUIRE(probe.gpus.size() == 3);
  CHECK(probe.gpus[0].sm_clock_mhz == 1980);
  CHECK(probe.gpus[0].memory_clock_mhz == 2619);
  CHECK(probe.gpus[0].peer_access ==
        std::map<std::string, bool>{{"00000000:1b:00.0", true}, {"00000000:1c:00.0", false}});
  CHECK(probe.gpus[2].peer_access ==
        std::map<std::string, bool>{{"00000000:1a:00.0", false}, {"00000000:1b:00.0", false}});
}

TEST_CASE("an NVSwitch that joins hosts is known by its cluster and clique; that of one host has no name") {
  const GpuProbe probe = fake("gb200 h100 t4");
  CHECK(probe.gpus[0].fabric == "00010203-0405-0607-0809-0a0b0c0d0e0f/7");
  CHECK(probe.gpus[1].fabric.empty());
  CHECK(probe.gpus[2].fabric.empty());
}

TEST_CASE("instances of a GPU that is split") {
  const GpuProbe probe = fake("mig2 h100");
  const std::vector<MigInstance> instances = {{"MIG-abc10000-0000-0000-0000-000000000000", uint64_t{10} << 30},
                                              {"MIG-abc20000-0000-0000-0000-000000000000", uint64_t{10} << 30}};
  CHECK(probe.gpus[0].instances == instances);
  CHECK(probe.gpus[1].instances.empty());
}

TEST_CASE("CUDA shows one instance, and beside it nothing") {
  const GpuProbe probe = fake("h100 mig2 mig");
  const auto left = [&](const std::optional<std::string>& value) {
    std::string uuids;
    for (const Gpu& gpu : visible_gpus(probe.gpus, value)) uuids += gpu.uuid.substr(0, 12) + " ";
    return uuids;
  };
  CHECK(left(std::nullopt) == "MIG-abc10001 ");
  CHECK(left("0") == "GPU-abc00000 ");
  CHECK(left("1") == "MIG-abc10001 ");
  CHECK(left("GPU-abc00002") == "MIG-abc10002 ");
  CHECK(left("MIG-abc20001-0000-0000-0000-000000000000") == "MIG-abc20001 ");
  CHECK(left("MIG-abc2") == "MIG-abc20001 ");  // a beginning that names one
  CHECK(left("MIG-abc1") == "");               // and one that names two
  CHECK(left("MIG-abc9") == "");
  CHECK(left("0,MIG-abc20001") == "MIG-abc20001 ");
  CHECK(left("MIG-abc20001,MIG-abc10002") == "MIG-abc20001 ");
  CHECK(left("MIG-abc20001,MIG-abc2") == "");
  const std::vector<Gpu> one = visible_gpus(probe.gpus, "MIG-abc20001");
  REQUIRE(one.size() == 1);
  CHECK(one[0].index == 1);
  CHECK(one[0].memory_bytes == uint64_t{10} << 30);
}

TEST_CASE("where GPUs hang is sysfs's to say") {
  testkit::FakeSysfs sysfs;
  sysfs.pci("pci0000:19/0000:19:01.0/0000:1a:00.0", 1);
  sysfs.pci("pci0000:1a/0000:1b:00.0", -1);
  std::vector<Gpu> gpus = fake("h100 h100 h100").gpus;
  gpus[2].pci = "";
  place_gpus(sysfs.root(), gpus);
  CHECK(gpus[0].pci_path == std::vector<std::string>{"0000:19:01.0", "0000:1a:00.0"});
  CHECK(gpus[0].numa == 1);
  CHECK(gpus[1].pci_path == std::vector<std::string>{"0000:1b:00.0"});
  CHECK(gpus[1].numa == -1);
  CHECK(gpus[2].pci_path.empty());
  place_gpus(sysfs.root() + "/nothing", gpus);  // a VM
  CHECK(gpus[0].pci_path.empty());
}

TEST_CASE("a GPU that CUDA opened has the driver's name, whether it is a GPU or an instance") {
  const std::string digits = "abc0000200000000000000000000000f", dashed = "abc00002-0000-0000-0000-00000000000f";
  const std::string other = "GPU-abc00003-0000-0000-0000-00000000000f";
  CHECK(gpu_of_digits(digits, {other, "GPU-" + dashed}) == "GPU-" + dashed);
  CHECK(gpu_of_digits(digits, {other, "MIG-" + dashed}) == "MIG-" + dashed);
  CHECK(gpu_of_digits(digits, {other}) == "GPU-" + dashed);  // as without a driver's word
  CHECK(gpu_of_digits("ab", {}) == "GPU-ab");
}

}  // namespace trireme
