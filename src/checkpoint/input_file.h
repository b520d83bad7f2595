#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace trireme {

// A regular file open for reading. Owns the descriptor; moves only. Reads are complete or throw: interrupted and short
// preads go on, and a file that ends early is Error(bad_data) with the byte.
class InputFile {
 public:
  explicit InputFile(
      const std::string& path);  // throws Error(no_input) when absent, Error(bad_data) when not a regular file
  ~InputFile();
  InputFile(InputFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}
  InputFile& operator=(InputFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  const std::string& path() const { return path_; }
  uint64_t bytes() const { return bytes_; }  // when opened
  // what: names the content in errors.
  void read(uint64_t offset, std::span<std::byte> into, const char* what) const;
  // One contiguous range of the file, scattered over `parts`, which are used up (their fields change).
  void read_scattered(uint64_t offset, std::span<iovec> parts, const char* what) const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
};

}  // namespace trireme
