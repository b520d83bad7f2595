#include "topology/pci.h"

#include <fmt/core.h>

#include <charconv>
#include <fstream>

namespace trireme {

namespace {

// The hexadecimal number at the start of `text`, which then loses it and the `end` behind it.
bool take_hex(std::string_view& text, char end, unsigned* number) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), *number, 16);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  if (end == '\0') return text.empty();
  if (!text.starts_with(end)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string pci_address(std::string_view text) {
  unsigned domain = 0, bus = 0, device = 0, function = 0;
  const bool whole = take_hex(text, ':', &domain) && take_hex(text, ':', &bus) && take_hex(text, '.', &device) &&
                     take_hex(text, '\0', &function);
  if (!whole || bus > 0xff || device > 0x1f || function > 7) return "";
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", domain, bus, device, function);
}

PciPlace find_pci_place(const std::filesystem::path& device) {
  PciPlace place;
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(device, error);
  if (error) return place;
  for (const auto& part : real)
    if (std::string address = pci_address(part.string()); !address.empty()) place.path.push_back(std::move(address));
  int numa = -1;  // the kernel, too, says -1 where the firmware does not tell
  if (std::ifstream(real / "numa_node") >> numa && numa >= 0) place.numa = numa;
  return place;
}

}  // namespace trireme
