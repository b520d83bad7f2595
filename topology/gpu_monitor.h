#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace trireme {

// Samples a GPU by NVML once a second, from its making on. A thread of its own asks, for an answer may take long and
// never comes from a GPU that hangs. Errors are no faults: what NVML does not tell is left out.
class GpuMonitor {
 public:
  // uuid: 32 hexadecimal digits, of a GPU or of an instance of it (MIG), as CUDA tells it; "": there is none to sample.
  // library: a name for dlopen, which may be missing.
  explicit GpuMonitor(std::string uuid, std::string library = "libnvidia-ml.so.1");
  ~GpuMonitor();
  GpuMonitor(const GpuMonitor&) = delete;
  GpuMonitor& operator=(const GpuMonitor&) = delete;

  // Ends the sampling, one sample at least; leaves alone a call that does not come back within a second.
  void stop();

  // The last sample, and how often the GPU was throttled in all of them (docs/operations.md has the fields);
  // nothing: none was told.
  std::optional<nlohmann::ordered_json> report() const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // with the thread: a call that hangs outlives this
};

}  // namespace trireme
