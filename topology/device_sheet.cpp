#include "topology/device_sheet.h"

#include <algorithm>
#include <array>

namespace trireme {

namespace {

constexpr double kMi = 1 << 20;
constexpr double kGi = 1 << 30;
constexpr double kG = 1e9, kT = 1e12;

// GPUs: NVIDIA's data sheets (dense figures; those that give sparse ones halved). Memory as nvidia-smi totals it, which
// is what a process can have; the data sheets' 80 GB are 81559 MiB. h200, b200: bandwidth and FLOP/s as the tables of
// ai-dynamo/aiconfigurator (systems/*.yaml) have them, 7.7 TB/s of the B200 where its sheet says 8. rtx-4090: the Ada
// whitepaper, with FP32 accumulation. PCIe: 4.0 x16 and 5.0 x16 less their coding.
// xeon-6980p: 12 channels of MRDIMM-8800; AMX: 2048 BF16 operations a cycle and core, 128 cores at 2.0 GHz.
// epyc-9654: 12 channels of DDR5-4800; 64 BF16 operations a cycle and core (measured on Zen 4), 96 cores at 3.0 GHz.
// CPUs: bandwidth as streaming reads reach it. ryzen-7950x: 2 channels of DDR5, from ik_llama.cpp PR 39; 16 cores at
// 4.5 GHz. c3d-30 (a cloud VM of 30 vCPUs of Zen 4), raspberry-pi-4 and -5 (LPDDR4; NEON on 4 cores): from
// distributed-llama's README, one node.
const std::array kSheets = std::to_array<DeviceSheet>({
    {"a100-40gb", false, 40536 * kMi, 1.555 * kT, 312 * kT, 0, 624 * kT, 0, 300 * kG, 31.5 * kG, Link::nvswitch, 0,
     "ib200", "a100"},
    {"a100-80gb", false, 81251 * kMi, 2.039 * kT, 312 * kT, 0, 624 * kT, 0, 300 * kG, 31.5 * kG, Link::nvswitch, 0,
     "ib200", "a100"},
    {"h100", false, 81559 * kMi, 3.35 * kT, 989 * kT, 1979 * kT, 1979 * kT, 0, 450 * kG, 63 * kG, Link::nvswitch, 0,
     "ib400", "h100"},
    {"h200", false, 143771 * kMi, 4.8 * kT, 989 * kT, 1979 * kT, 1979 * kT, 0, 450 * kG, 63 * kG, Link::nvswitch, 0,
     "ib400", "h100"},
    {"b200", false, 183359 * kMi, 7.7 * kT, 2250 * kT, 4500 * kT, 4500 * kT, 9000 * kT, 900 * kG, 63 * kG,
     Link::nvswitch, 0, "ib400", "b200"},
    {"gb200", false, 189471 * kMi, 8 * kT, 2500 * kT, 5000 * kT, 5000 * kT, 10000 * kT, 900 * kG, 63 * kG,
     Link::nvswitch, 72, "ib400", "b200"},
    {"l40s", false, 46068 * kMi, 0.864 * kT, 362 * kT, 733 * kT, 733 * kT, 0, 0, 31.5 * kG, Link::pcie, 0, "ib200", ""},
    {"rtx-4090", false, 24564 * kMi, 1.008 * kT, 165.2 * kT, 330.3 * kT, 660.6 * kT, 0, 0, 31.5 * kG, Link::pcie, 0,
     "eth25", ""},
    {"rtx-pro-6000", false, 97887 * kMi, 1.792 * kT, 503.8 * kT, 1007.6 * kT, 1007.6 * kT, 2015.2 * kT, 0, 63 * kG,
     Link::pcie, 0, "ib400", ""},
    {"xeon-6980p", true, 768 * kGi, 725 * kG, 524 * kT, 0, 1048 * kT, 0, 0, 144 * kG, Link::sockets, 0, "ib400", ""},
    {"epyc-9654", true, 768 * kGi, 460.8 * kG, 18.4 * kT, 0, 36.9 * kT, 0, 0, 96 * kG, Link::sockets, 0, "ib400", ""},
    {"ryzen-7950x", true, 64 * kGi, 72 * kG, 4.6 * kT, 0, 9.2 * kT, 0, 0, 0, Link::sockets, 0, "eth10", ""},
    {"c3d-30", true, 59 * kGi, 49 * kG, 2.8 * kT, 0, 5.6 * kT, 0, 0, 0, Link::sockets, 0, "eth50", ""},
    {"raspberry-pi-5", true, 8 * kGi, 10.5 * kG, 0.15 * kT, 0, 0.3 * kT, 0, 0, 0, Link::sockets, 0, "eth1", ""},
    {"raspberry-pi-4", true, 8 * kGi, 3.6 * kG, 0.1 * kT, 0, 0.1 * kT, 0, 0, 0, Link::sockets, 0, "eth1", ""},
});

}  // namespace

const char* link_name(Link link) {
  constexpr const char* kNames[] = {"nvswitch", "nvlink-pairs", "pcie", "sockets"};
  return kNames[static_cast<size_t>(link)];
}

std::span<const DeviceSheet> device_sheets() { return kSheets; }

const DeviceSheet* find_device_sheet(std::string_view name) {
  const auto* found =
      std::find_if(kSheets.begin(), kSheets.end(), [&](const DeviceSheet& s) { return s.name == name; });
  return found == kSheets.end() ? nullptr : found;
}

std::string device_sheet_names() {
  std::string names;
  for (const DeviceSheet& sheet : kSheets) names += (names.empty() ? "" : ", ") + sheet.name;
  return names;
}

}  // namespace trireme
