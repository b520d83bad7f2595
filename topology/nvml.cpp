#include "topology/nvml.h"

#include <fmt/core.h>

#include <algorithm>

#include "topology/gpu.h"

namespace trireme {

Nvml::Nvml(const std::string& library) : library_(library) {
  if (!library_.is_open()) {
    missing_ = fmt::format("no NVIDIA driver ({} is not there)", library);
    return;
  }
  if (const int code = call("nvmlInit_v2"); code != kSuccess)
    missing_ = fmt::format("NVIDIA's library is there, but does not start: {}", error_text(code));
  else
    started_ = true;
}

Nvml::~Nvml() {
  if (started_) call("nvmlShutdown");
}

std::string Nvml::error_text(int code) const {
  const char* (*function)(int) = nullptr;
  library_.take("nvmlErrorString", function);
  const char* words = function ? function(code) : nullptr;
  return words ? fmt::format("{} ({})", words, code) : fmt::format("NVML error {}", code);
}

namespace {

struct PciInfo {
  char legacy_bus_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};
constexpr int kSuccess = Nvml::kSuccess;
constexpr int kComputeModeDefault = 0;
constexpr int kRemoteGpu = 0, kRemoteSwitch = 2;
constexpr unsigned kMaxLinks = 18;  // NVML_NVLINK_MAX_LINKS
constexpr int kClockSm = 1, kClockMemory = 2;
constexpr int kP2pRead = 0, kP2pOk = 0;
constexpr unsigned kMaxInstances = 64;  // more than any GPU has

// nvmlGpuFabricInfo_t; the second version has a version before it and a mask behind it.
struct FabricInfo {
  unsigned char cluster[16];
  int status;
  unsigned clique;
  unsigned char state;
};
struct FabricInfo2 {
  unsigned version;
  FabricInfo info;
  unsigned health;
};
constexpr unsigned kFabricVersion2 = sizeof(FabricInfo2) | 2u << 24;
constexpr unsigned char kFabricCompleted = 3;

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::string bus_id(PciInfo& pci) {
  pci.bus_id[sizeof pci.bus_id - 1] = '\0';
  return lower(pci.bus_id);
}

void probe_links(const Nvml& nvml, Nvml::Device device, Gpu& gpu) {
  for (unsigned link = 0; link < kMaxLinks; link++) {
    int active = 0, remote = -1;
    PciInfo pci{};
    if (nvml.call("nvmlDeviceGetNvLinkState", device, link, &active) != kSuccess || !active) continue;
    if (nvml.call("nvmlDeviceGetNvLinkRemoteDeviceType", device, link, &remote) != kSuccess) continue;
    if (remote == kRemoteSwitch) gpu.switch_links++;
    if (remote == kRemoteGpu && nvml.call("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, link, &pci) == kSuccess)
      gpu.peer_links[bus_id(pci)]++;
  }
}

// "": no fabric of several hosts, or it is not ready. An HGX board of one host has one without a cluster.
std::string probe_fabric(const Nvml& nvml, Nvml::Device device) {
  FabricInfo2 versioned{.version = kFabricVersion2};
  FabricInfo& info = versioned.info;
  int code = nvml.call("nvmlDeviceGetGpuFabricInfoV", device, &versioned);
  if (code != kSuccess) code = nvml.call("nvmlDeviceGetGpuFabricInfo", device, &info);  // drivers before 550
  const bool named = std::any_of(std::begin(info.cluster), std::end(info.cluster), [](int byte) { return byte != 0; });
  if (code != kSuccess || info.state != kFabricCompleted || info.status != kSuccess || !named) return "";
  std::string uuid;
  for (size_t i = 0; i < sizeof info.cluster; i++)
    uuid += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", info.cluster[i]);
  return fmt::format("{}/{}", uuid, info.clique);
}

// A process that may not see an instance has no handle of it, and gaps are normal.
void probe_instances(const Nvml& nvml, Nvml::Device device, Gpu& gpu) {
  unsigned most = 0;
  if (!gpu.mig || nvml.call("nvmlDeviceGetMaxMigDeviceCount", device, &most) != kSuccess) return;
  for (unsigned i = 0; i < std::min(most, kMaxInstances); i++) {
    Nvml::Device instance = nullptr;
    if (nvml.call("nvmlDeviceGetMigDeviceHandleByIndex", device, i, &instance) != kSuccess) continue;
    Nvml::Memory memory{};
    if (nvml.call("nvmlDeviceGetMemoryInfo", instance, &memory) != kSuccess) memory = {};
    gpu.instances.push_back({nvml.text("nvmlDeviceGetUUID", instance), memory.total});
  }
}

int most_mhz(const Nvml& nvml, Nvml::Device device, int clock) {
  unsigned mhz = 0;
  return nvml.call("nvmlDeviceGetMaxClockInfo", device, clock, &mhz) == kSuccess ? static_cast<int>(mhz) : 0;
}

// What a driver does not say stays out of the map.
void probe_peers(const Nvml& nvml, const std::vector<Nvml::Device>& devices, std::vector<Gpu>& gpus) {
  for (size_t i = 0; i < gpus.size(); i++)
    for (size_t j = 0; j < gpus.size(); j++) {
      int status = -1;
      if (i != j && !gpus[j].pci.empty() &&
          nvml.call("nvmlDeviceGetP2PStatus", devices[i], devices[j], kP2pRead, &status) == kSuccess)
        gpus[i].peer_access[gpus[j].pci] = status == kP2pOk;
    }
}

Gpu probe_gpu(const Nvml& nvml, Nvml::Device device, int index) {
  Gpu gpu;
  gpu.index = index;
  gpu.name = nvml.text("nvmlDeviceGetName", device);
  gpu.uuid = nvml.text("nvmlDeviceGetUUID", device);
  PciInfo pci{};
  if (nvml.call("nvmlDeviceGetPciInfo_v3", device, &pci) == kSuccess) gpu.pci = bus_id(pci);
  int major = 0, minor = 0;
  if (nvml.call("nvmlDeviceGetCudaComputeCapability", device, &major, &minor) == kSuccess)
    gpu.architecture = 10 * major + minor;
  Nvml::Memory memory{};
  if (nvml.call("nvmlDeviceGetMemoryInfo", device, &memory) == kSuccess) {
    gpu.memory_bytes = memory.total;
    gpu.free_bytes = memory.free;
  }
  unsigned mig = 0, pending = 0;
  gpu.mig = nvml.call("nvmlDeviceGetMigMode", device, &mig, &pending) == kSuccess && mig != 0;
  int mode = kComputeModeDefault;
  gpu.exclusive = nvml.call("nvmlDeviceGetComputeMode", device, &mode) == kSuccess && mode != kComputeModeDefault;
  gpu.sm_clock_mhz = most_mhz(nvml, device, kClockSm);
  gpu.memory_clock_mhz = most_mhz(nvml, device, kClockMemory);
  gpu.fabric = probe_fabric(nvml, device);
  probe_instances(nvml, device, gpu);
  probe_links(nvml, device, gpu);
  return gpu;
}

}  // namespace

GpuProbe probe_gpus(const std::string& library) {
  GpuProbe probe;
  const Nvml nvml(library);
  probe.missing = nvml.missing();
  if (!probe.missing.empty()) return probe;
  probe.driver = nvml.text("nvmlSystemGetDriverVersion");
  if (int cuda = 0; nvml.call("nvmlSystemGetCudaDriverVersion_v2", &cuda) == kSuccess)
    probe.cuda = fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10);
  unsigned count = 0;
  if (const int code = nvml.call("nvmlDeviceGetCount_v2", &count); code != kSuccess) {
    probe.missing = fmt::format("driver {} does not count its GPUs: {}", probe.driver, nvml.error_text(code));
    return probe;
  }
  std::vector<Nvml::Device> devices;
  std::string refused;  // a container's or a job's devices may be fewer than the host's
  for (unsigned i = 0; i < count; i++) {
    Nvml::Device device = nullptr;
    const int code = nvml.call("nvmlDeviceGetHandleByIndex_v2", i, &device);
    if (code != kSuccess) {
      refused = nvml.error_text(code);
      continue;
    }
    probe.gpus.push_back(probe_gpu(nvml, device, static_cast<int>(i)));
    devices.push_back(device);
  }
  probe_peers(nvml, devices, probe.gpus);
  if (probe.gpus.empty())
    probe.missing = count == 0
                        ? fmt::format("driver {} has none", probe.driver)
                        : fmt::format("driver {} has {}, none for this process: {}", probe.driver, count, refused);
  return probe;
}

}  // namespace trireme
