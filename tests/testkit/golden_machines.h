#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "topology/machine_json.h"
#include "topology/nearest.h"

namespace trireme::testkit {

// The files of tests/topology/machines, as golden_test.cpp describes them; `folder` is where they lie.
inline std::vector<std::filesystem::path> golden_files(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

inline nlohmann::json read_golden(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

inline uint64_t memory_of(const Gpu& gpu, const std::string& uuid) {
  for (const MigInstance& instance : gpu.instances)
    if (instance.uuid == uuid) return instance.memory_bytes;
  return gpu.memory_bytes;
}

// As a session does it: every rank takes the nearest of the GPUs that it sees.
inline void take_gpus(Machine& machine) {
  for (int host = 0; host < std::ssize(machine.hosts); host++) {
    const std::vector<int> here = machine.ranks_on(host), gpus = nearest_gpus(machine, host);
    for (size_t i = 0; i < here.size(); i++) {
      Rank& rank = machine.ranks[static_cast<size_t>(here[i])];
      if (!rank.gpu.empty() || rank.visible_gpus.empty()) continue;
      rank.gpu = rank.visible_gpus[static_cast<size_t>(gpus[i])];
      const Gpu* gpu = machine.gpu_of_rank(here[i]);
      if (gpu) rank.gpu_available_bytes = static_cast<int64_t>(memory_of(*gpu, rank.gpu));
    }
  }
}

}  // namespace trireme::testkit
