#pragma once

#include <cstring>
#include <string>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace trireme {

// Where operations run and in which order: memory and order, no arithmetic. Operations launched one after the other see
// each other's results; synchronize() waits until the host may read them. On the CPU a launch is the whole team's work
// and returns when it is done.
class Device {
 public:
  virtual ~Device() = default;
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual Buffer allocate(size_t bytes, const char* what) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  // in order with the operations
  virtual void synchronize() = 0;
  virtual std::string name() const = 0;

  template <typename Args>
  void launch(void (*op)(const Launch&, const Args&), const Args& args) {
    struct Call {
      void (*op)(const Launch&, const Args&);
      const Args* args;
    } call{op, &args};
    launch_erased(
        [](const void* c, const Launch& l) { static_cast<const Call*>(c)->op(l, *static_cast<const Call*>(c)->args); },
        &call);
  }

 protected:
  using Thunk = void (*)(const void*, const Launch&);
  virtual void launch_erased(Thunk thunk, const void* call) = 0;
};

class CpuDevice final : public Device {
 public:
  CpuDevice(int threads, std::span<const int> cpus) : pool_(threads, cpus) {}
  Buffer allocate(size_t bytes, const char* what) override { return Buffer(bytes, what); }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void synchronize() override {}
  std::string name() const override { return "cpu"; }
  ThreadPool& pool() { return pool_; }

 private:
  void launch_erased(Thunk thunk, const void* call) override {
    pool_.run([&](int part) { thunk(call, Launch{part, pool_.size(), nullptr}); });
  }
  ThreadPool pool_;
};

}  // namespace trireme
