#include "topology/nic.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "topology/pci.h"

namespace trireme {

namespace {

namespace fs = std::filesystem;
constexpr std::string_view kKinds[] = {"ib", "roce", "eth"};
constexpr double kMostGbit = 1e5;

}  // namespace

std::string Nic::text() const {
  const std::string_view name = kKinds[static_cast<size_t>(kind)];
  return gbit_per_s > 0 ? fmt::format("{}{}", name, gbit_per_s) : std::string(name);
}

std::optional<Nic> Nic::parse(std::string_view text) {
  for (size_t kind = 0; kind < std::size(kKinds); kind++) {
    if (!text.starts_with(kKinds[kind])) continue;
    const std::string_view number = text.substr(kKinds[kind].size());
    if (number.empty()) return Nic{static_cast<Kind>(kind), 0};
    double rate = 0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rate);
    if (error != std::errc() || end != number.data() + number.size() || !(rate > 0 && rate <= kMostGbit)) break;
    return Nic{static_cast<Kind>(kind), rate};
  }
  return std::nullopt;
}

namespace {

std::string line_of(const fs::path& path) {  // "": there is none, or the driver gives an error for it
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Of a folder, mlx5_2 before mlx5_10; none where it cannot be read.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  std::sort(names.begin(), names.end(),
            [](const std::string& a, const std::string& b) { return strverscmp(a.c_str(), b.c_str()) < 0; });
  return names;
}

// 0: unknown. The kernel says -1 or "Unknown!" where a driver does not tell, and some had 2^32 - 1.
double gbit_of(const std::string& text, double unit) {
  double rate = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
  rate *= unit;
  return error == std::errc() && rate > 0 && rate <= kMostGbit ? rate : 0;
}

HostNic nic_at(const std::string& name, const fs::path& device) {
  const PciPlace place = find_pci_place(device);
  return {.name = name, .numa = place.numa, .pci_path = place.path};
}

// What leads off this host: not a software device, nor the part of an adapter that was set aside for a VM, nor a USB
// link to the board's own controller.
std::optional<fs::path> real_device(const fs::path& device) {
  std::error_code error;
  const fs::path real = fs::canonical(device, error);
  if (error || fs::exists(real / "physfn", error)) return std::nullopt;
  const bool usb = std::any_of(real.begin(), real.end(), [](const fs::path& part) {
    return part.string().starts_with("usb") && part.string().size() > 3 && part.string()[3] >= '0' &&
           part.string()[3] <= '9';
  });
  return usb ? std::nullopt : std::optional(real);
}

// The ports of one device of InfiniBand's kind that are up. Amazon's EFA has a link layer of its own: no Ethernet
// device stands beside it either.
std::vector<HostNic> ports_of(const fs::path& folder, const std::string& name, const fs::path& device) {
  std::vector<HostNic> up;
  const std::vector<std::string> ports = names_in(folder / "ports");
  for (const std::string& port : ports) {
    const fs::path at = folder / "ports" / port;
    if (line_of(at / "state").find("ACTIVE") == std::string::npos) continue;  // "4: ACTIVE"
    HostNic nic = nic_at(ports.size() == 1 ? name : name + ":" + port, device);
    nic.nic.kind = line_of(at / "link_layer") == "Ethernet" ? Nic::Kind::roce : Nic::Kind::infiniband;
    nic.nic.gbit_per_s = gbit_of(line_of(at / "rate"), 1);  // "400 Gb/sec (4X NDR)"
    up.push_back(std::move(nic));
  }
  return up;
}

bool is_ethernet_port(const fs::path& folder) {
  constexpr const char* kEthernet = "1";  // ARPHRD_ETHER; IP over InfiniBand is 32
  const std::string type = line_of(folder / "type"), state = line_of(folder / "operstate");
  std::error_code error;
  const bool wireless = fs::exists(folder / "wireless", error) || fs::exists(folder / "phy80211", error);
  // "pf0vf3": an adapter's own view of a VM's part of it.
  const bool representor = line_of(folder / "phys_port_name").starts_with("pf");
  return !wireless && !representor && (type.empty() || type == kEthernet) && (state == "up" || state == "unknown");
}

}  // namespace

std::vector<HostNic> probe_nics(const std::string& root) {
  std::vector<HostNic> nics;
  std::set<fs::path> counted;
  const fs::path classes = fs::path(root) / "sys/class";
  for (const std::string& name : names_in(classes / "infiniband")) {
    const fs::path folder = classes / "infiniband" / name;
    const std::optional<fs::path> device = real_device(folder / "device");
    if (!device) continue;
    for (HostNic& port : ports_of(folder, name, *device)) {
      nics.push_back(std::move(port));
      counted.insert(*device);
    }
  }
  for (const std::string& name : names_in(classes / "net")) {
    const fs::path folder = classes / "net" / name;
    const std::optional<fs::path> device = real_device(folder / "device");
    if (!device || counted.contains(*device) || !is_ethernet_port(folder)) continue;
    HostNic nic = nic_at(name, *device);
    nic.nic = {Nic::Kind::ethernet, gbit_of(line_of(folder / "speed"), 1e-3)};  // Mbit/s
    nics.push_back(std::move(nic));
  }
  return nics;
}

}  // namespace trireme
