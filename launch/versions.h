#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trireme {

// Name and version of this program and of all that it was built with and runs on, in a fixed order. nccl: "auto" or a
// file, opened to be asked; "off".
std::vector<std::pair<std::string, std::string>> versions(const std::string& nccl);
std::string version_text(bool verbose, const std::string& nccl);

}  // namespace trireme
