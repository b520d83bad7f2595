#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "job/progress.h"

namespace trireme {

// What status.json says: where a run stands, or why it ended. Timings live here and never in the output.
struct Status {
  std::string state = "running";  // "running", "done" or "failed"
  Tally tally;
  double seconds = 0;            // since the job began
  int exit_code = -1;            // -1: still running
  std::string message;           // why it failed; else ""
  PhaseSeconds phases;           // once it has ended
  StepSpeeds speeds;             // likewise
  nlohmann::ordered_json ranks;  // what the caller knows of each rank: memory, device, KV use; null when nothing

  // The predicted end is a date by this host's clock; `unix_seconds` is its time now.
  nlohmann::ordered_json to_json(int64_t unix_seconds) const;
};

// Whether GPUs were throttled in the run so far, by what GpuMonitor reported as "gpu" of each rank: the rank with the
// most such samples, and how many ranks have any; "": none.
std::string throttling_text(const nlohmann::ordered_json& ranks);

int64_t memory_bytes();       // of this process, resident now
int64_t peak_memory_bytes();  // and at most so far

}  // namespace trireme
