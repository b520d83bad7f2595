#include "topology/gpu.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <string>

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

}  // namespace trireme
