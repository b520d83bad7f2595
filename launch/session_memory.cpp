// What a rank's memory is planned to be, and what it is.

#include <fmt/core.h>

#include <algorithm>

#include "base/held_memory.h"
#include "launch/session.h"

namespace trireme {

int64_t Session::needed_bytes() const {
  return StageWeights::packed_bytes_of(*source_, config_, units_, place_, packing()) + kRankBytes;
}

// Bytes for a rank's cache when nobody says how many: a part of what is left beside the weights; of a GPU, which nobody
// else needs, most of what is free now that they and the group's windows are there.
int64_t Session::room_for_cache() const {
  if (!gpu_) {
    const int64_t weights = StageWeights::packed_bytes_of(*source_, config_, units_, place_, packing());
    return static_cast<int64_t>(static_cast<double>(available_bytes_ - weights) * kCacheShare);
  }
  return static_cast<int64_t>(static_cast<double>(gpu_free_bytes_ / gpu_ranks_ - workspace().device - kRankBytes) *
                              kGpuCacheShare);
}

// Until the cache is agreed on, as if the RoPE tables were of the model's whole context.
Workspace Session::workspace() const {
  const std::vector<int> group = layout_.group(here().pp, here().dp);
  const auto remote = std::count_if(group.begin(), group.end(), [&](int r) { return !fabric_->shares_memory(r); });
  const RankShape rank{place_, layout_.pp, static_cast<int>(remote), gpu_ != nullptr};
  const int64_t positions = rope_positions_ > 0 ? rope_positions_ : config_.max_positions;
  return workspace_of(config_, units_, rank, limits_, options_.max_seqs, positions);
}

Session::Memory Session::memory() const {
  const int64_t weights = StageWeights::packed_bytes_of(*source_, config_, units_, place_, packing());
  const int64_t cache = static_cast<int64_t>(cache_->bytes());
  const Workspace work = workspace();
  const HeldMemory held = held_memory();
  const int64_t resident = private_resident_bytes();
  Memory m{.planned = weights + cache + work.total(), .held = held.total()};
  if (gpu_) m.planned_on_gpu = weights + cache + work.on_device(), m.held_on_gpu = held.device;
  if (resident >= 0) m.beside = std::max<int64_t>(0, resident - held.host_resident);
  return m;
}

std::string Session::memory_text() const {
  return fmt::format("rank 0: weights {} MiB, KV cache {} MiB ({} blocks of {} positions), {}", weights_->bytes() >> 20,
                     cache_->bytes() >> 20, kv_blocks_, kBlockTokens, motion_->text());
}

std::vector<std::string> Session::gpu_memory_texts() {
  const std::string shared = gpu_ranks_ > 1 ? fmt::format(" for {} ranks", gpu_ranks_) : "";
  const bool sized = options_.kv_blocks == 0 && options_.kv_gib == 0;  // by room_for_cache()
  const std::string margin =
      sized ? fmt::format(", margin {} MiB and {:.0f} %", kRankBytes >> 20, 100 - 100 * kGpuCacheShare) : "";
  const std::string mine =
      gpu_ ? fmt::format(
                 "rank {} on {}: weights {} MiB; {} MiB were free beside them{}: KV cache {} MiB, workspace about {} "
                 "MiB{}; {} MiB are free now",
                 world_.rank(), gpu_->name(), weights_->bytes() >> 20, gpu_free_bytes_ >> 20, shared,
                 cache_->bytes() >> 20, workspace().on_device() >> 20, margin, gpu_->available_bytes() >> 20)
           : "";
  std::vector<std::string> texts;
  for (const std::vector<std::byte>& text : world_.all_gather(std::as_bytes(std::span(mine))))
    if (!text.empty()) texts.emplace_back(reinterpret_cast<const char*>(text.data()), text.size());
  return texts;
}

}  // namespace trireme
