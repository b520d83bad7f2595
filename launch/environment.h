#pragma once

#include <optional>
#include <string>
#include <vector>

namespace trireme {

// What the process was started with and where. environment.cpp and main() are the only readers of argv and environment.
struct Environment {
  std::vector<std::string> entries;  // "NAME=value"
  std::string host;
  std::string cache_folder;  // ${XDG_CACHE_HOME:-$HOME/.cache}/trireme, "" without a home
  std::string launcher;      // "mpirun", "srun", "pmix" or "" (bare)
  int rank = 0, ranks = 1;   // as the launcher says; MPI has the last word

  static Environment read();
  std::optional<std::string> find(const std::string& name) const;
  // Of CUDA toolkits and Python environments that the user has chosen: where NVIDIA's libraries may lie.
  std::vector<std::string> library_prefixes() const;
  // Whether kernels may begin early: TRIREME_TEST_EARLY_START=off is for finding a fault (docs/cuda.md).
  bool early_start() const { return value("TRIREME_TEST_EARLY_START") != "off"; }
  std::string value(const std::string& name) const { return find(name).value_or(""); }  // "" when unset
};

}  // namespace trireme
