#pragma once

#include <cuda_runtime_api.h>

#include <exception>
#include <vector>

#include "device/cuda.h"
#include "device/cuda_driver.h"

namespace trireme {

// Calls that wait for the GPU may wait for what makes the job fail: they are left out then.
inline bool device_is_failing() { return std::uncaught_exceptions() > 0; }

// On a failing device the lane's stream may never end, and is left to the process's end.
class EventLane final : public Lane {
 public:
  // in_line: whether a kernel was the last that the device's stream was given.
  EventLane(cudaStream_t device, CudaDriver& driver, int marks, bool& in_line)
      : device_(device), driver_(driver), marks_(static_cast<size_t>(marks)), in_line_(in_line) {
    driver_.ask("a second stream", [&] { return cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); });
    make(followed_);
    for (cudaEvent_t& mark : marks_) make(mark);
  }
  ~EventLane() override {
    if (device_is_failing()) return;
    driver_.call("a second stream to be closed", [&] {
      for (cudaEvent_t mark : marks_) cudaEventDestroy(mark);
      cudaEventDestroy(followed_);
      return cudaStreamDestroy(stream_);
    });
  }

  void* stream() override { return stream_; }
  void follow() override {
    in_line_ = false;
    record(followed_, device_);
    let_follow(stream_, followed_);
  }
  void mark(int i) override { record(marks_.at(static_cast<size_t>(i)), stream_); }
  void lead(int i) override {
    let_follow(device_, marks_.at(static_cast<size_t>(i)));
    in_line_ = false;
  }
  bool passed(int i) override {
    constexpr const char* kWhat = "the messages of other ranks";
    const cudaEvent_t mark = marks_.at(static_cast<size_t>(i));
    const cudaError_t state = driver_.call(kWhat, [&] { return cudaEventQuery(mark); });
    if (state == cudaSuccess) return true;
    if (state != cudaErrorNotReady) driver_.check(state, kWhat);
    cudaGetLastError();  // "not ready" is no error of the next launch
    return false;
  }

 private:
  void make(cudaEvent_t& event) {
    driver_.ask("an event", [&] { return cudaEventCreateWithFlags(&event, cudaEventDisableTiming); });
  }
  void record(cudaEvent_t event, cudaStream_t stream) {
    driver_.ask("an event", [&] { return cudaEventRecord(event, stream); });
  }
  void let_follow(cudaStream_t stream, cudaEvent_t event) {
    driver_.ask("one stream to follow another", [&] { return cudaStreamWaitEvent(stream, event, 0); });
  }

  cudaStream_t device_, stream_ = nullptr;
  CudaDriver& driver_;
  cudaEvent_t followed_ = nullptr;
  std::vector<cudaEvent_t> marks_;
  bool& in_line_;
};

}  // namespace trireme
