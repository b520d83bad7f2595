#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// A kind of network adapter: "ib400" is InfiniBand of 400 Gbit/s; "roce100", "eth1" likewise, "eth" of unknown rate.
struct Nic {
  enum class Kind : uint8_t { infiniband, roce, ethernet };
  Kind kind = Kind::infiniband;
  double gbit_per_s = 0;  // 0: there is none, or its rate is unknown
  bool operator==(const Nic&) const = default;
  double bytes_per_s() const { return gbit_per_s * 1e9 / 8; }
  std::string text() const;

  static std::optional<Nic> parse(std::string_view text);
};

// One of a host.
struct HostNic {
  std::string name;  // "mlx5_0", "mlx4_0:2" (a port of several), "eth0"
  Nic nic;
  int numa = -1;                      // -1: unknown
  std::vector<std::string> pci_path;  // addresses from the root bridge down to it; empty: unknown
  bool operator==(const HostNic&) const = default;
};

// InfiniBand and RoCE ports that are up, then Ethernet's, each by name, from sys/class under `root` ("/" but in tests).
// A RoCE device's own Ethernet port is not counted again; loopbacks, bridges and what else a kernel makes up, parts set
// aside for VMs, Wi-Fi and USB are not counted at all. What cannot be read is as if it were not there.
std::vector<HostNic> probe_nics(const std::string& root);

}  // namespace trireme
