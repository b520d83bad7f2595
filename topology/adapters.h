#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "topology/placement.h"

namespace trireme {

// The network adapters that a user leaves to a library, by its environment variable: "UCX_NET_DEVICES=mlx5_0:1,eth0",
// names of devices with the port of one of InfiniBand's kind, "all"; "NCCL_IB_HCA=mlx5_1", prefixes of names of devices
// of InfiniBand's kind, exact names behind "=", with or without a port. "^" in front of a list: all but those.
class AdapterChoice {
 public:
  // An entry of the environment. Any other, and an empty value, chooses nothing.
  static AdapterChoice parse(std::string_view entry);

  bool is_given() const { return !names_.empty(); }
  bool takes(const HostNic& nic) const;
  // Whether the library can go by such an adapter, whatever the user says.
  bool could_take(const HostNic& nic) const { return !nccl_ || nic.nic.kind != Nic::Kind::ethernet; }

 private:
  struct Name {
    std::string device, port;  // "": any
  };
  bool matches(const Name& name, const Name& nic) const;

  bool nccl_ = false, inverted_ = false, exact_ = true;
  std::vector<Name> names_;
};

// A remark where ranks that exchange something with other hosts have their nearest adapter on another NUMA node; else
// none.
std::vector<std::string> far_adapters(const Machine& machine, const Links& links, const Layout& layout, int threads);

// Likewise where the user leaves them adapters on other NUMA nodes alone, though one at their own is up and half as
// fast as the host's fastest, or faster. choices: [ranks] entries of their environments, "" for none.
std::vector<std::string> wrong_adapters(const Machine& machine, const Links& links, const Layout& layout, int threads,
                                        const std::vector<std::string>& choices);

}  // namespace trireme
