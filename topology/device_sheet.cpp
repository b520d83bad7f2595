#include "topology/device_sheet.h"

#include <algorithm>

namespace trireme {

namespace {

// A line of the table, in the units of data sheets.
struct Line {
  const char* name;
  bool cpu;
  double memory_mib, memory_gbps;
  double bf16_tflops, fp8_tflops, int8_tops, fp4_tflops;
  double nvlink_gbps, pcie_gbps;  // one direction
  Link link;
  int link_domain;
  double flops_reach;
  const char *nic, *family;
  int cores = 0;  // of a CPU
  double memory_reach = 1;
  bool peer_access = true;  // over PCIe: NVIDIA's driver gives GeForce cards from the 30 series on none
};

// GPUs: NVIDIA's data sheets (dense figures; those that give sparse ones halved). Memory as nvidia-smi totals it, which
// is what a process can have; the data sheets' 80 GB are 81559 MiB. h200, b200: bandwidth and FLOP/s as the tables of
// ai-dynamo/aiconfigurator (systems/*.yaml) have them, 7.7 TB/s of the B200 where its sheet says 8; h20's rates and
// b300's bandwidth as well. b300, gb300: the sheets of HGX B300 and GB300 NVL72. gh200: the one with 96 GB.
// rtx-4090: the Ada whitepaper, with FP32 accumulation; rtx-5090: the RTX Blackwell one. NVLink of cards without a
// switch (PCIe, NVL): by bridges, with which h100-nvl (of two) and h200-nvl (of four) are sold. PCIe: 4.0 x16 and 5.0
// x16 less their coding. rtx-pro-6000: the Workstation Edition; the server's has other bandwidth, and 4 PFLOP/s of
// sparse FP4 on its sheet, too. a10g: AWS's g5.
//
// kGddr: of GDDR6X and GDDR7 engines reach more than of HBM, both by their sheets. vLLM decodes Qwen3-4B on an RTX 4090
// in 10.4 ms, 78 % of the bound; and TensorRT-LLM's rows of the RTX PRO 6000 (bench/data/later_cases.json, the Server
// Edition) fit one stage or two with it.
//
// CPUs, a socket or a board: bandwidth as streaming reads reach
// it. xeon-6980p: MRDIMM-8800, 1.45 TB/s of two sockets and what SGLang reaches of AMX, whose peak is 2048 BF16
// operations a cycle on each of 128 cores at 2 GHz (lm-sys 2025-07). epyc-9654: 12 channels of DDR5-4800, 85 % of them;
// 64 BF16 operations a cycle and core (measured on Zen 4), 96 cores at 3 GHz. ryzen-7950x: ik_llama.cpp PR 39; 16 cores
// at 4.5 GHz. c3d-30, a cloud VM of 30 vCPUs of Zen 4, and raspberry-pi-4 and -5 (LPDDR4, NEON on 4 cores):
// distributed-llama's README, one node.
constexpr double kGddr = 1.1;
// clang-format off
constexpr Line kLines[] = {
  // name, CPU,              MiB, GB/s, BF16,   FP8,   INT8,   FP4, NVLink, PCIe, link, domain, reach, NIC, family, cores, of the memory
  {"a100-40gb",      false,   40536, 1555,  312,     0,     624,     0, 300, 31.5, Link::nvswitch,  0, 1,     "ib200", "a100"},
  {"a100-80gb",      false,   81251, 2039,  312,     0,     624,     0, 300, 31.5, Link::nvswitch,  0, 1,     "ib200", "a100"},
  {"a100-pcie-40gb", false,   40536, 1555,  312,     0,     624,     0, 300, 31.5, Link::pcie,      0, 1,     "ib200", "a100"},
  {"a100-pcie-80gb", false,   81251, 1935,  312,     0,     624,     0, 300, 31.5, Link::pcie,      0, 1,     "ib200", "a100"},
  {"h100",           false,   81559, 3350,  989,  1979,    1979,     0, 450, 63,   Link::nvswitch,  0, 1,     "ib400", "h100"},
  {"h100-pcie",      false,   81559, 2000,  756,  1513,    1513,     0, 300, 63,   Link::pcie,      0, 1,     "ib200", "h100"},
  {"h100-nvl",       false,   95830, 3900, 835.5, 1670.5, 1670.5,    0, 300, 63, Link::nvlink_pairs, 0, 1,    "ib400", "h100"},
  {"h200",           false,  143771, 4800,  989,  1979,    1979,     0, 450, 63,   Link::nvswitch,  0, 1,     "ib400", "h100"},
  {"h200-nvl",       false,  143771, 4800, 835.5, 1670.5, 1670.5,    0, 450, 63, Link::nvlink_pairs, 4, 1,    "ib400", "h100"},
  {"gh200",          false,   97871, 4000,  989,  1979,    1979,     0, 450, 63,   Link::nvswitch,  0, 1,     "ib400", "h100"},
  {"h800",           false,   81559, 3350,  989,  1979,    1979,     0, 200, 63,   Link::nvswitch,  0, 1,     "ib400", ""},
  {"h20",            false,   97871, 4000,  148,   296,     296,     0, 450, 63,   Link::nvswitch,  0, 1,     "ib400", "h100"},
  {"b200",           false,  183359, 7700, 2250,  4500,    4500,  9000, 900, 63,   Link::nvswitch,  0, 0.9,   "ib400", "b200"},
  {"gb200",          false,  189471, 8000, 2500,  5000,    5000, 10000, 900, 63,   Link::nvswitch, 72, 0.9,   "ib400", "b200"},
  {"b300",           false,  275040, 7750, 2250,  4500,     125, 13500, 900, 63,   Link::nvswitch,  0, 0.9,   "ib800", "b200"},
  {"gb300",          false,  284208, 8000, 2500,  5000,     167, 15000, 900, 63,   Link::nvswitch, 72, 0.9,   "ib800", "b200"},
  {"a10",            false,   23028,  600,  125,     0,     250,     0,   0, 31.5, Link::pcie,      0, 1,     "eth25", ""},
  {"a10g",           false,   23028,  600,   70,     0,     140,     0,   0, 31.5, Link::pcie,      0, 1,     "eth25", ""},
  {"a30",            false,   24576,  933,  165,     0,     330,     0, 100, 31.5, Link::pcie,      0, 1,     "ib200", ""},
  {"a40",            false,   46068,  696, 149.7,    0,   299.3,  0, 56.25,  31.5, Link::pcie,      0, 1,     "ib200", ""},
  {"l4",             false,   23034,  300,  121,   242,     242,     0,   0, 31.5, Link::pcie,      0, 1,     "eth25", ""},
  {"l20",            false,   46068,  864, 119.5,  239,     239,     0,   0, 31.5, Link::pcie,      0, 1,     "ib200", ""},
  {"l40s",           false,   46068,  864,  362,   733,     733,     0,   0, 31.5, Link::pcie,      0, 1,     "ib200", ""},
  {"rtx-a6000",      false,   49140,  768, 154.8,    0,   309.7,  0, 56.25,  31.5, Link::pcie,      0, 1,     "eth25", ""},
  {"rtx-6000-ada",   false,   49140,  960, 364.2, 728.5,   728.5,    0,   0, 31.5, Link::pcie,      0, 1,     "eth25", ""},
  {"rtx-3090",       false,   24576,  936,   71,     0,     284,  0, 56.25,  31.5, Link::pcie,      0, 1,     "eth25", "", 0, kGddr, false},
  {"rtx-4090",       false,   24564, 1008, 165.2, 330.3,   660.6,    0,   0, 31.5, Link::pcie,      0, 1,     "eth25", "", 0, kGddr, false},
  {"rtx-5090",       false,   32607, 1792, 209.5,  419,     838,  1676,   0, 63,   Link::pcie,      0, 1,     "eth25", "", 0, kGddr, false},
  {"rtx-pro-6000",   false,   97887, 1792, 503.8, 1007.6, 1007.6, 2015.2, 0, 63,   Link::pcie,      0, 1,     "ib400", "", 0, kGddr},
  {"rtx-pro-6000-server", false, 97887, 1597, 503.8, 1007.6, 1007.6, 2015.2, 0, 63,   Link::pcie,      0, 1,     "ib400", "", 0, kGddr},
  {"xeon-6980p",     true,   786432,  725,  524,     0,    1048,     0,   0, 144,  Link::sockets,   0, 0.055, "ib400", "", 128},
  {"epyc-9654",      true,   786432,  390, 18.4,     0,    36.9,     0,   0, 96,   Link::sockets,   0, 1,     "ib400", "", 96},
  {"ryzen-7950x",    true,    65536,   72,  4.6,     0,     9.2,     0,   0, 0,    Link::sockets,   0, 1,     "eth10", "", 16},
  {"c3d-30",         true,    60416,   49,  2.8,     0,     5.6,     0,   0, 0,    Link::sockets,   0, 1,     "eth50", "", 15},
  {"raspberry-pi-5", true,     8192, 10.5, 0.15,     0,     0.3,     0,   0, 0,    Link::sockets,   0, 1,     "eth1",  "", 4},
  {"raspberry-pi-4", true,     8192,  3.6,  0.1,     0,     0.1,     0,   0, 0,    Link::sockets,   0, 1,     "eth1",  "", 4},
};
// clang-format on

DeviceSheet sheet_of(const Line& l) {
  constexpr double kMi = 1 << 20, kG = 1e9, kT = 1e12;
  DeviceSheet s;
  s.name = l.name, s.cpu = l.cpu, s.cores = l.cores;
  s.memory_bytes = l.memory_mib * kMi, s.memory_bytes_per_s = l.memory_gbps * kG;
  s.bf16_flops = l.bf16_tflops * kT, s.fp8_flops = l.fp8_tflops * kT;
  s.int8_ops = l.int8_tops * kT, s.fp4_flops = l.fp4_tflops * kT;
  s.nvlink_bytes_per_s = l.nvlink_gbps * kG, s.pcie_bytes_per_s = l.pcie_gbps * kG;
  s.link = l.link, s.link_domain = l.link_domain;
  s.flops_reach = l.flops_reach, s.memory_reach = l.memory_reach;
  s.nic = l.nic, s.family = l.family;
  s.peer_access = l.peer_access;
  return s;
}

}  // namespace

const char* link_name(Link link) {
  constexpr const char* kNames[] = {"nvswitch", "nvlink-pairs", "pcie", "sockets"};
  return kNames[static_cast<size_t>(link)];
}

void DeviceSheet::scale_rates(double factor) {
  for (double* rate : {&memory_bytes_per_s, &bf16_flops, &fp8_flops, &int8_ops, &fp4_flops}) *rate *= factor;
}

std::optional<DeviceSheet> find_device_sheet(std::string_view name) {
  const auto* found = std::find_if(std::begin(kLines), std::end(kLines), [&](const Line& l) { return l.name == name; });
  return found == std::end(kLines) ? std::nullopt : std::optional(sheet_of(*found));
}

std::vector<std::string> device_sheet_names() {
  std::vector<std::string> names;
  for (const Line& l : kLines) names.emplace_back(l.name);
  return names;
}

}  // namespace trireme
