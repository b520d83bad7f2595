#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// How the devices of a host reach each other.
enum class Link : uint8_t { nvswitch, nvlink_pairs, pcie, sockets };
const char* link_name(Link link);  // "nvswitch", as a machine's description spells it

// What a data sheet says of one GPU, or of one CPU socket or board: dense arithmetic, one direction of links. 0: it has
// no such thing. What engines reach of it is an engine profile's affair (plan/engine_profile.h).
struct DeviceSheet {
  std::string name;  // "h100", as users write it
  bool cpu = false;
  int cores = 0;                  // of a CPU
  double memory_bytes = 0;        // that a process can have
  double memory_bytes_per_s = 0;  // of reading
  double bf16_flops = 0;          // FP16 the same
  double fp8_flops = 0;           // 0: FP8 weights are computed in BF16
  double int8_ops = 0;
  double fp4_flops = 0;           // 0: FP4 weights are computed in BF16
  double nvlink_bytes_per_s = 0;  // of all NVLinks of the device together
  double pcie_bytes_per_s = 0;    // to its host; of a CPU: to the next socket
  Link link = Link::pcie;         // of a host of these, when nobody says otherwise
  int link_domain = 0;            // that one NVSwitch fabric joins, over hosts too, or bridges; 0: those of a host, 2
  bool peer_access = true;        // a GPU reads the memory of others over PCIe
  double flops_reach = 1;         // of that arithmetic, what engines are known to reach where it is a small part
  double memory_reach = 1;        // of its bandwidth, times as much as engines reach of most devices'
  double share = 1;               // of a host's CPUs, that this device is
  std::string nic;                // of each device in a cluster, when nobody says otherwise: "ib400"; "": none
  std::string family;             // of whose all-reduce measurements hold for it (plan/collectives.cpp); "": none

  void scale_rates(double factor);  // of memory and arithmetic; links are as they are
};

std::optional<DeviceSheet> find_device_sheet(std::string_view name);
std::vector<std::string> device_sheet_names();  // GPUs first: for errors and help

}  // namespace trireme
