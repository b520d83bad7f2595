#pragma once

#include <string>
#include <utility>
#include <vector>

#include "launch/options.h"

namespace trireme {

// Name and version of this program and of all that it was built with and runs on, in a fixed order. Opens the libraries
// that `options` let it use, to ask them.
std::vector<std::pair<std::string, std::string>> versions(const Options& options);
std::string version_text(bool verbose, const Options& options);

}  // namespace trireme
