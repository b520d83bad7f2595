#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace trireme {

// Zeroed memory of this process, aligned to 64 bytes and, when large, advised to be huge pages. Owns it; moves only.
// Throws Error(out_of_memory) that says who asked (`what`) and for how much.
class Buffer {
 public:
  Buffer() = default;
  Buffer(size_t bytes, const char* what);
  ~Buffer();
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  size_t bytes() const { return bytes_; }
  std::byte* data() const { return data_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  std::span<T> span() const {
    return {as<T>(), bytes_ / sizeof(T)};
  }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace trireme
