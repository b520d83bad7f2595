#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace trireme {

// Name and version of this program and of all that it was built with and runs on, in a fixed order. library_prefixes:
// Options::library_prefixes.
std::vector<std::pair<std::string, std::string>> versions(std::span<const std::string> library_prefixes);
std::string version_text(bool verbose, std::span<const std::string> library_prefixes);

}  // namespace trireme
