// An NVML of GPUs that are not there, for tests: words of TRIREME_TEST_NVML say which. Built as libnvidia-ml.so.1, in a
// folder of its own.
//   h100        80 GiB, sm_90, 18 NVLinks to a switch         mig, exclusive   an h100 in that mode
//   a100-pair   80 GiB, sm_80, 12 NVLinks to its neighbour    refused          one that this process may not open
//   t4          16 GiB, sm_75, no NVLink                      init=N           the library answers error N at once
//   hot         an h100 that power and heat slow down         lost             an h100 that says nothing of what it
//   does idle        an h100 with nothing to do                    hangs            an h100 that never says how busy it
//   is
//   gb200       184 GiB, sm_100, one NVSwitch of many hosts   mig2, mig0       a mig of two instances, of none
// A mig is one instance of 10 GiB, MIG-abc1000N-..., of GPU-abc0000N-...; the second of a mig2 is MIG-abc2000N-...
// A t4 reads no other GPU's memory, nor does another its.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Kind {
  const char *word, *name;
  int major, minor;
  unsigned long long gib;
  unsigned links;
  bool to_switch;
};
constexpr Kind kKinds[] = {{"h100", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"mig", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"mig2", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"mig0", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"gb200", "NVIDIA GB200", 10, 0, 184, 18, true},
                           {"exclusive", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"hot", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"idle", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"lost", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"hangs", "NVIDIA H100 80GB HBM3", 9, 0, 80, 18, true},
                           {"a100-pair", "NVIDIA A100 80GB PCIe", 8, 0, 80, 12, false},
                           {"t4", "Tesla T4", 7, 5, 16, 0, false},
                           {"refused", "", 0, 0, 0, 0, false}};
constexpr Kind kInstance = {"instance", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9, 0, 10, 0, false};

struct Device {
  unsigned index;
  Kind kind;
  unsigned instance = 0;  // of the GPU, from 1; 0: the GPU itself

  bool is(const char* word) const { return std::strcmp(kind.word, word) == 0; }
};
std::vector<Device> devices, instances;

struct PciInfo {
  char legacy_bus_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

struct Fabric {  // nvmlGpuFabricInfo_v2_t
  unsigned version;
  unsigned char cluster[16];
  int status;
  unsigned clique;
  unsigned char state;
  unsigned health;
};

void put_bus_id(unsigned index, PciInfo* pci) {
  std::snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", 0x1a + index);
}

constexpr int kSuccess = 0, kInvalidArgument = 2, kNotSupported = 3, kNoPermission = 4, kNotFound = 6, kLost = 15;

// Whether a chip tells what it does.
int telling(const Device* device) {
  if (device->is("lost")) return kLost;
  return device->is("instance") ? kNotSupported : kSuccess;
}

}  // namespace

extern "C" {

int nvmlInit_v2() {
  const char* words = std::getenv("TRIREME_TEST_NVML");
  std::istringstream stream(words ? words : "");
  devices.clear(), instances.clear();
  for (std::string word; stream >> word;) {
    if (word.rfind("init=", 0) == 0) return std::atoi(word.c_str() + 5);
    for (const Kind& kind : kKinds)
      if (word == kind.word) devices.push_back({static_cast<unsigned>(devices.size()), kind});
    if (word == "mig" || word == "mig2") instances.push_back({devices.back().index, kInstance, 1});
    if (word == "mig2") instances.push_back({devices.back().index, kInstance, 2});
  }
  return kSuccess;
}
int nvmlShutdown() { return kSuccess; }
const char* nvmlErrorString(int code) {
  return code == kNoPermission ? "Insufficient Permissions" : "Driver Not Loaded";
}
int nvmlSystemGetDriverVersion(char* text, unsigned bytes) {
  return std::snprintf(text, bytes, "550.54.15") > 0 ? kSuccess : kNotSupported;
}
int nvmlSystemGetCudaDriverVersion_v2(int* version) { return *version = 12040, kSuccess; }
int nvmlDeviceGetCount_v2(unsigned* count) { return *count = static_cast<unsigned>(devices.size()), kSuccess; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device** device) {
  if (index >= devices.size()) return kInvalidArgument;
  *device = &devices[index];
  return (*device)->is("refused") ? kNoPermission : kSuccess;
}
int nvmlDeviceGetName(Device* device, char* text, unsigned bytes) {
  return std::snprintf(text, bytes, "%s", device->kind.name), kSuccess;
}
int nvmlDeviceGetUUID(Device* device, char* text, unsigned bytes) {
  const unsigned first = 0xabc00000u + (device->instance << 16) + device->index;
  const char* kind = device->is("instance") ? "MIG" : "GPU";
  return std::snprintf(text, bytes, "%s-%08x-0000-0000-0000-000000000000", kind, first), kSuccess;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, Device** device) {
  for (auto* list : {&devices, &instances})
    for (Device& candidate : *list) {
      char text[96];
      nvmlDeviceGetUUID(&candidate, text, sizeof text);
      if (std::strcmp(text, uuid) == 0) return *device = &candidate, kSuccess;
    }
  return kNotFound;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device* instance, Device** chip) {
  if (!instance->is("instance")) return kInvalidArgument;
  return *chip = &devices[instance->index], kSuccess;
}
int nvmlDeviceGetPciInfo_v3(Device* device, PciInfo* pci) { return put_bus_id(device->index, pci), kSuccess; }
int nvmlDeviceGetCudaComputeCapability(Device* device, int* major, int* minor) {
  *major = device->kind.major, *minor = device->kind.minor;
  return kSuccess;
}
int nvmlDeviceGetMemoryInfo(Device* device, unsigned long long* total_free_used) {
  if (device->is("lost")) return kLost;
  total_free_used[0] = device->kind.gib << 30;
  total_free_used[2] = 1ull << 30;
  total_free_used[1] = total_free_used[0] - total_free_used[2];
  return kSuccess;
}
int nvmlDeviceGetMigMode(Device* device, unsigned* now, unsigned* pending) {
  *now = *pending = device->is("mig") || device->is("mig2") || device->is("mig0");
  return device->kind.major < 8 ? kNotSupported : kSuccess;
}
int nvmlDeviceGetMaxMigDeviceCount(Device*, unsigned* count) { return *count = 7, kSuccess; }
int nvmlDeviceGetMigDeviceHandleByIndex(Device* chip, unsigned index, Device** instance) {
  for (Device& candidate : instances)
    if (candidate.index == chip->index && candidate.instance == index + 1) return *instance = &candidate, kSuccess;
  return kNotFound;
}
int nvmlDeviceGetP2PStatus(Device* a, Device* b, int, int* status) {
  return *status = a->is("t4") || b->is("t4") ? 1 : 0, kSuccess;
}
int nvmlDeviceGetGpuFabricInfoV(Device* device, Fabric* fabric) {
  constexpr unsigned kVersion = sizeof(Fabric) | 2u << 24;
  if (fabric->version != kVersion) return kInvalidArgument;
  if (device->kind.major < 9) return kNotSupported;
  fabric->state = 3;
  if (!device->is("gb200")) return kSuccess;  // one host's: no cluster
  for (unsigned char i = 0; i < 16; i++) fabric->cluster[i] = i;
  return fabric->clique = 7, kSuccess;
}
int nvmlDeviceGetComputeMode(Device* device, int* mode) { return *mode = device->is("exclusive") ? 3 : 0, kSuccess; }
int nvmlDeviceGetUtilizationRates(Device* device, unsigned* gpu_memory) {
  while (device->is("hangs")) pause();
  gpu_memory[0] = 97, gpu_memory[1] = 41;
  return telling(device);
}
int nvmlDeviceGetClockInfo(Device* device, int kind, unsigned* mhz) {
  *mhz = kind == 2 ? 2619 : device->is("hot") ? 1005 : device->is("idle") ? 345 : 1755;
  return telling(device);
}
int nvmlDeviceGetMaxClockInfo(Device* device, int kind, unsigned* mhz) {
  return *mhz = kind == 2 ? 2619 : 1980, telling(device);
}
int nvmlDeviceGetTemperature(Device* device, int, unsigned* celsius) {
  return *celsius = device->is("hot") ? 88 : 61, telling(device);
}
int nvmlDeviceGetPowerUsage(Device* device, unsigned* milliwatts) { return *milliwatts = 412345, telling(device); }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device* device, unsigned long long* reasons) {
  return *reasons = device->is("hot") ? 0x4 | 0x40 : device->is("idle"), telling(device);
}
int nvmlDeviceGetNvLinkState(Device* device, unsigned link, int* active) {
  *active = link < device->kind.links;
  return device->kind.links ? kSuccess : kNotSupported;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(Device* device, unsigned, int* type) {
  return *type = device->kind.to_switch ? 2 : 0, kSuccess;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(Device* device, unsigned, PciInfo* pci) {
  return put_bus_id(device->index ^ 1, pci), kSuccess;
}

}  // extern "C"
