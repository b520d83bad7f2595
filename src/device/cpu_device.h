#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/must.h"
#include "base/thread_pool.h"
#include "device/device.h"

namespace trireme {

// A launch is the whole team's work, or where that is little the caller's, and returns when it is done; all memory is
// the host's.
class CpuDevice final : public Device {
 public:
  CpuDevice(int threads, std::span<const int> cpus)
      : workspace_(kWorkspaceBytes, "sums that threads share"), pool_(threads, cpus) {}
  Buffer allocate(size_t bytes, const char* what) override { return Buffer(bytes, what); }
  Buffer allocate_pinned(size_t bytes, const char* what) override { return Buffer(bytes, what); }
  Buffer upload(Buffer host, const char*) override { return host; }
  Buffer pin(std::span<std::byte>, const char*) override { return {}; }
  bool works_in_host_memory() const override { return true; }
  int team() const override { return pool_.size(); }
  Handle share(const Buffer&) override { return {}; }
  std::optional<Buffer> open(const Handle&, size_t) override { return std::nullopt; }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy_runs(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                 size_t count) override {
    for (size_t i = 0; i < count; i++)
      std::memcpy(static_cast<std::byte*>(to) + i * to_stride, static_cast<const std::byte*>(from) + i * from_stride,
                  bytes);
  }
  void meet(const Meeting&) override { must(false, "the hosts of CPU ranks wait for each other"); }
  void synchronize() override {}
  void repeat(int64_t, const std::function<void()>& operations) override { operations(); }

 private:
  // That one thread goes through while a team of two begins and ends: with it SmolLM2's steps of one sequence take up
  // to 1.2 times less (`trireme bench decode --threads 2 --batch 1`, Zen 5).
  static constexpr int64_t kFewValues = 2048;

  void launch_erased(Thunk thunk, const void* call, int64_t simple_values) override {
    if (simple_values <= kFewValues) return thunk(call, Launch{});
    pool_.run([&](int part) {
      Launch launch{part, pool_.size(), nullptr};
      launch.workspace = workspace_.span<std::byte>();
      thunk(call, launch);
    });
  }
  Buffer workspace_;
  ThreadPool pool_;
};

}  // namespace trireme
