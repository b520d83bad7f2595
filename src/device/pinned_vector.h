#pragma once

#include <span>
#include <type_traits>

#include "base/must.h"
#include "device/device.h"

namespace trireme {

// A vector of a fixed capacity in memory that the host and operations reach. The host may change it only while no
// launched operation still reads it: after synchronize().
template <typename T>
class PinnedVector {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  PinnedVector() = default;
  PinnedVector(Device& device, size_t capacity, const char* what)
      : memory_(device.allocate_pinned(capacity * sizeof(T), what)), capacity_(capacity) {}

  void clear() { size_ = 0; }
  void resize(size_t size) {  // what comes anew holds anything
    must(size <= capacity_, "a pinned vector keeps its capacity");
    size_ = size;
  }
  void push_back(const T& value) {
    resize(size_ + 1);
    data()[size_ - 1] = value;
  }

  T* data() { return memory_.as<T>(); }
  const T* data() const { return memory_.as<T>(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }

 private:
  Buffer memory_;
  size_t capacity_ = 0, size_ = 0;
};

}  // namespace trireme
