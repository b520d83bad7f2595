#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace trireme {

// Zeroed memory, aligned to 64 bytes. Owns it; moves only.
class Buffer {
 public:
  using Release = void (*)(std::byte* data, size_t bytes, void* maker) noexcept;

  Buffer() = default;
  // Of this process; when large, advised to be huge pages. Throws Error(out_of_memory) that says who asked (`what`) and
  // for how much.
  Buffer(size_t bytes, const char* what);
  // Of another making, which takes it back. maker: outlives it; what release() gets.
  Buffer(std::byte* data, size_t bytes, Release release, void* maker)
      : data_(data), bytes_(bytes), release_(release), maker_(maker) {}
  ~Buffer() {
    if (data_) release_(data_, bytes_, maker_);
  }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        release_(other.release_),
        maker_(other.maker_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
    std::swap(maker_, other.maker_);
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
  Release release_ = nullptr;
  void* maker_ = nullptr;
};

}  // namespace trireme
