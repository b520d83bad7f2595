#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// A part of a GPU that is a device of its own.
struct MigInstance {
  std::string uuid;  // "MIG-..."
  uint64_t memory_bytes = 0;
  bool operator==(const MigInstance&) const = default;
};

// A GPU of this host as its driver tells it; 0 or "": unknown.
struct Gpu {
  int index = 0;  // as NVML counts: by PCI address
  std::string name;
  std::string uuid;      // "GPU-..."
  std::string pci;       // "00000000:1b:00.0", lower case
  int architecture = 0;  // compute capability: 90 is sm_90
  uint64_t memory_bytes = 0, free_bytes = 0;
  int sm_clock_mhz = 0, memory_clock_mhz = 0;  // the most
  bool mig = false;                            // it is split into instances
  std::vector<MigInstance> instances;          // those that this process may see
  bool exclusive = false;                      // one process only, or none
  int switch_links = 0;                        // NVLinks to an NVSwitch
  std::map<std::string, int> peer_links;       // NVLinks to other GPUs, by their `pci`
  std::string fabric;                          // "cluster/clique" of NVSwitches that join hosts, too; "": none
  std::map<std::string, bool> peer_access;     // by others' `pci`: whether it may read their memory
  int numa = -1;                               // -1: unknown
  std::vector<std::string> pci_path;           // addresses (topology/pci.h) down to it; empty: unknown
  bool operator==(const Gpu&) const = default;
};

// All that the driver shows. Without a GPU `missing` says why, in one line.
struct GpuProbe {
  std::vector<Gpu> gpus;
  std::string driver;  // "550.54.15"
  std::string cuda;    // the newest CUDA that the driver runs: "12.4"
  std::string missing;
  bool operator==(const GpuProbe&) const = default;
};

// Asks NVML, which is opened for the question and closed again: a host without a driver is normal input. library: a
// name for dlopen.
GpuProbe probe_gpus(const std::string& library = "libnvidia-ml.so.1");

// What CUDA_VISIBLE_DEVICES (nothing: unset) leaves of `gpus`, in its order, by CUDA's rules: indices or beginnings of
// UUIDs, up to the first that names no GPU; none when one is named twice. Indices count as with
// CUDA_DEVICE_ORDER=PCI_BUS_ID, which differs from CUDA's default only where GPUs differ. A GPU that is split stands
// for its first instance, "MIG-..." names any; CUDA shows one instance to a process, and then nothing else. An instance
// is given as its GPU, with the instance's own UUID and memory.
std::vector<Gpu> visible_gpus(const std::vector<Gpu>& gpus, const std::optional<std::string>& variable);

// The driver's name, of those visible, of the GPU or instance whose UUID CUDA gives as these 32 digits. Where none of
// them has it, as without NVML: "GPU-..." with the digits.
std::string gpu_of_digits(std::string_view digits, const std::vector<std::string>& visible);

// Fills in what sysfs under `root` ("/" but in tests) says of where GPUs hang: pci_path, numa.
void place_gpus(const std::string& root, std::vector<Gpu>& gpus);

// Lines for people, indented by two spaces: a line for each kind of GPU, or why there is none.
std::string gpu_text(const GpuProbe& probe);
// "8 x NVIDIA H100 80GB HBM3, 80 GiB, sm_90, 18 NVLinks to a switch"; "none".
std::string kinds_text(const GpuProbe& probe);

}  // namespace trireme
