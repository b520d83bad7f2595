#pragma once

#include <algorithm>
#include <cstdint>

#include "model/stage.h"

namespace trireme {

// How this engine divides a rank's memory when nobody says it (launch/session.cpp), which the planner must know.
// --max-step-tokens and --max-seqs where nobody says them. A GPU has to have many rows to be busy, and memory for them.
constexpr int64_t default_step_tokens(bool on_gpu) { return on_gpu ? 2048 : 256; }
constexpr int64_t default_sequences(bool on_gpu) { return on_gpu ? 256 : 16; }
// Rows whose logits are computed at once, [rows, vocabulary] FP32: 6 MB for 32 rows of 49152 tokens. A GPU reads the
// head's weights once for them, and its host waits. Those shown whole are as many bytes of /dev/shm, too.
inline constexpr int64_t kLogitRows = 32, kGpuLogitRows = 128, kWholeRows = 32;
constexpr StepLimits step_limits(int64_t rows, bool on_gpu) {
  return {rows, std::min(rows, on_gpu ? kGpuLogitRows : kLogitRows), std::min(rows, kWholeRows)};
}
inline constexpr int64_t kRankBytes = int64_t{256} << 20;  // that libraries, heap and program may take, a rank
inline constexpr double kCacheShare = 0.5;                 // of a host's memory left after the weights
inline constexpr double kGpuCacheShare = 0.95;  // of a GPU's memory left after weights, workspace and kRankBytes

// A rank of which memory is asked.
struct RankShape {
  StagePlace place;
  int pp = 1;
  int remote_members = 0;  // of its TP group, that share no memory with it: what they show is mirrored
  bool on_gpu = false;
};

// What a rank's own allocators hold beside weights and cache once it is ready, asked of the classes that hold it.
struct Workspace {
  int64_t windows = 0;  // of the TP group, on the device
  int64_t device = 0;   // the rest of where operations work; on CPUs all the rest
  int64_t host = 0;     // beside a GPU
  int64_t on_device() const { return windows + device; }
  int64_t total() const { return on_device() + host; }
};
// slots: sequences in flight. positions: of the RoPE tables.
Workspace workspace_of(const ModelConfig& config, const UnitTable& units, const RankShape& rank,
                       const StepLimits& limits, int64_t slots, int64_t positions);

}  // namespace trireme
