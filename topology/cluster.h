#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "topology/device_sheet.h"
#include "topology/nic.h"
#include "topology/tp_reach.h"

namespace trireme {

// Equal hosts of equal devices, as a data sheet or a user describes them: what a plan is made for. Pure data.
struct Cluster {
  int hosts = 1;
  int devices = 1;  // of a host: GPUs, or CPU sockets
  DeviceSheet device;
  Link link = Link::pcie;
  int nics = 0;  // of a host
  Nic nic;
  bool nics_assumed = false;  // nobody said what joins the hosts
  int cores = 0;  // of a host whose CPUs ranks may divide among them as they like; 0: devices are what they are
  TpReach reach;  // of a host's devices, or of its cores
  std::vector<std::string> remarks;  // of a map's (topology/machine_cluster.h): what is measured, what a guess

  static constexpr int kMostDevices = 1 << 20;  // of all hosts
  int size() const { return hosts * devices; }
  // Where ranks divide the CPUs of a host: as many of them on each, which are its devices then and divide no further.
  // threads: of a rank; 0: an equal part of the cores. Else the cluster as it is.
  Cluster divided(int ranks_per_host, int threads = 0) const;
  int most_ranks() const { return hosts * (cores > 0 ? cores : devices); }
  // As many of these hosts; joined as people join them, where nobody has said how.
  Cluster with_hosts(int count) const;
  Cluster with_devices(int count) const;  // the same of more devices a host, as such hosts have them
  // Devices that the fastest links join: those of an NVSwitch, bridged cards, one alone on PCIe, the sockets of a
  // host.
  int fast_domain() const;
  // The slowest link of so many TP groups, of neighbouring devices; fast ones (is_slow) are not told apart. What auto
  // layouts of a run make no groups over.
  LinkClass slowest_group_link(int tp, int groups) const;
  double network_bytes_per_s() const { return nics * nic.bytes_per_s(); }  // of a host, one direction
  // "2 hosts x 8 h100 nvswitch, 8 ib400": what parse() takes; "2 hosts x 96 cores of epyc-9654, 1 ib400" of divisible
  // ones.
  std::string text() const;

  // "[H hosts x] N DEVICE [nvswitch|nvlink-pairs|pcie] [, K NIC]". Throws Error(usage) with the option that it is of,
  // the column, what stands there and what is possible.
  static Cluster parse(std::string_view spec, std::string_view option = "machine");
  // An object {"hosts", "devices", "device": name or {"name", "memory_gb", ...}, "link", "nics", "nic"}: a machine of
  // which there is no data sheet. Throws Error(bad_data) naming `source` and the field.
  static Cluster from_json(const nlohmann::json& json, const std::string& source);
};

}  // namespace trireme
