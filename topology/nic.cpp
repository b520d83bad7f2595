#include "topology/nic.h"

#include <fmt/format.h>

#include <charconv>

namespace trireme {

namespace {

constexpr std::string_view kKinds[] = {"ib", "roce", "eth"};
constexpr double kMostGbit = 1e5;

}  // namespace

std::string Nic::text() const { return fmt::format("{}{}", kKinds[static_cast<size_t>(kind)], gbit_per_s); }

std::optional<Nic> Nic::parse(std::string_view text) {
  for (size_t kind = 0; kind < std::size(kKinds); kind++) {
    if (!text.starts_with(kKinds[kind])) continue;
    const std::string_view number = text.substr(kKinds[kind].size());
    double rate = 0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rate);
    if (error != std::errc() || end != number.data() + number.size() || !(rate > 0 && rate <= kMostGbit)) break;
    return Nic{static_cast<Kind>(kind), rate};
  }
  return std::nullopt;
}

std::vector<HostNic> probe_nics(const std::string&) { return {}; }

}  // namespace trireme
