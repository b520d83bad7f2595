#include "topology/nvml.h"

#include <fmt/format.h>

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
  std::string refused;  // a container's or a job's devices may be fewer than the host's
  for (unsigned i = 0; i < count; i++) {
    Nvml::Device device = nullptr;
    const int code = nvml.call("nvmlDeviceGetHandleByIndex_v2", i, &device);
    if (code == kSuccess)
      probe.gpus.push_back(probe_gpu(nvml, device, static_cast<int>(i)));
    else
      refused = nvml.error_text(code);
  }
  if (probe.gpus.empty())
    probe.missing = count == 0
                        ? fmt::format("driver {} has none", probe.driver)
                        : fmt::format("driver {} has {}, none for this process: {}", probe.driver, count, refused);
  return probe;
}

}  // namespace trireme
