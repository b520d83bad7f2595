#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace trireme {

// A file descriptor that knows its path, so that every error names it. Owns the descriptor; moves only.
// Faults are Error(no_input) on opening to read, Error(cannot_create) on opening to write, Error(io_error) later and
// whenever a disk is full or fails.
class File {
 public:
  File() = default;
  ~File() { close(); }
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    return *this;
  }

  static File open_to_read(const std::string& path);
  static File open_to_write(const std::string& path);   // a device or a pipe, whose reader is waited for
  static File create(const std::string& path);          // read and write; emptied when it exists
  static File open_or_create(const std::string& path);  // the same, and left as it is

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }

  size_t read(std::span<char> into);                            // 0 only at the end
  size_t read_at(uint64_t offset, std::span<char> into) const;  // as many as there are
  void write(std::string_view data);
  void truncate();  // to nothing
  void sync();
  void close() noexcept;

 private:
  static File open_writable(const std::string& path, int how);

  int fd_ = -1;
  std::string path_;
};

// Puts `data` under `path` so that a reader sees the old file or the new one and nothing between; so does whoever comes
// after a crash of the host, when it must be durable (two syncs: milliseconds, on a busy file system many).
// A link's target is replaced, not the link; what is no file (a device, a pipe) is written to.
enum class Durable { no, yes };
void replace_file(const std::string& path, std::string_view data, Durable durable = Durable::yes);
// The same for a file written by others: syncs it, renames it to `path` (same folder) and syncs the folder.
void publish_file(File& file, const std::string& path);
std::string read_whole_file(const std::string& path);
std::string folder_of(const std::string& path);  // "." when path has none

}  // namespace trireme
