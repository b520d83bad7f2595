#pragma once

#include <span>
#include <string_view>

namespace trireme {

// The files of src/plan/profiles, which the build puts into the program.
struct EmbeddedProfile {
  std::string_view name, json;
};
std::span<const EmbeddedProfile> embedded_profiles();

}  // namespace trireme
