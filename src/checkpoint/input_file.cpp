#include "checkpoint/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace trireme {

namespace {

constexpr size_t kMaxParts = 1024;  // IOV_MAX of Linux

}  // namespace

InputFile::InputFile(const std::string& path)
    : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (fd_ < 0)
    fail(errno == ENOENT || errno == ENOTDIR || errno == EACCES ? ExitCode::no_input : ExitCode::io_error,
         "cannot open {} ({}); check the path and its permissions", path, errno_text());
  struct stat s {};
  bool ok = fstat(fd_, &s) == 0 && S_ISREG(s.st_mode);
  if (!ok) {
    close(fd_);
    fail(ExitCode::bad_data, "{} is not a regular file; give a file on disk, no folder, pipe or device", path);
  }
  bytes_ = static_cast<uint64_t>(s.st_size);
}

InputFile::~InputFile() {
  if (fd_ >= 0) close(fd_);
}

void InputFile::read(uint64_t offset, std::span<std::byte> into, const char* what) const {
  iovec part{into.data(), into.size()};
  read_scattered(offset, {&part, 1}, what);
}

void InputFile::read_scattered(uint64_t offset, std::span<iovec> parts, const char* what) const {
  while (!parts.empty()) {
    if (parts[0].iov_len == 0) {
      parts = parts.subspan(1);
      continue;
    }
    ssize_t n =
        preadv(fd_, parts.data(), static_cast<int>(std::min(parts.size(), kMaxParts)), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ExitCode::io_error, "reading {} of {} failed at byte {} ({})", what, path_, offset, errno_text());
    if (n == 0)
      fail(ExitCode::bad_data, "{} ends at byte {}, inside its {}; it had {} bytes when opened: copy it again", path_,
           offset, what, bytes_);
    offset += static_cast<uint64_t>(n);
    for (size_t left = static_cast<size_t>(n); left > 0;) {
      size_t taken = std::min(left, parts[0].iov_len);
      parts[0].iov_base = static_cast<std::byte*>(parts[0].iov_base) + taken;
      parts[0].iov_len -= taken;
      left -= taken;
      if (parts[0].iov_len == 0) parts = parts.subspan(1);
    }
  }
}

}  // namespace trireme
