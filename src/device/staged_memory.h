#pragma once

#include "device/device.h"

namespace trireme {

// What the host hands to operations, or they to it, step by step. The host's side is pinned memory, operations' side
// their device's own, which they read again and again at its speed; where they work in the host's memory both are one.
// The host touches its side only while no copy may be under way: after synchronize().
class StagedMemory {
 public:
  StagedMemory() = default;
  StagedMemory(Device& device, size_t bytes, const char* what)
      : device_(&device), host_(device.allocate_pinned(bytes, what)) {
    if (!device.works_in_host_memory()) there_ = device.allocate(bytes, what);
  }

  template <typename T>
  T* host(size_t byte = 0) const {
    return reinterpret_cast<T*>(host_.data() + byte);
  }
  template <typename T>
  T* device(size_t byte = 0) const {
    return reinterpret_cast<T*>((there_.data() ? there_.data() : host_.data()) + byte);
  }

  // The first so many bytes, in order with the operations.
  void to_device(size_t bytes) const {
    if (there_.data() && bytes > 0) device_->copy(there_.data(), host_.data(), bytes);
  }
  void to_host(size_t bytes) const {
    if (there_.data() && bytes > 0) device_->copy(host_.data(), there_.data(), bytes);
  }

 private:
  Device* device_ = nullptr;
  Buffer host_, there_;  // there_: empty where it is the host's
};

}  // namespace trireme
