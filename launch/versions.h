#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trireme {

// Name and version of this program and of all that it was built with and runs on, in a fixed order.
std::vector<std::pair<std::string, std::string>> versions();
std::string version_text(bool verbose);

}  // namespace trireme
