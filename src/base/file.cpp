#include "base/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/error.h"

namespace trireme {

namespace {

// A full disk is the fault users meet most: it gets its own advice.
[[noreturn]] void fail_io(const char* what, const std::string& path) {
  const char* advice = errno == ENOSPC || errno == EDQUOT ? "; free space or write the output elsewhere, then run again"
                                                          : "; check the file system, then run again";
  fail(ExitCode::io_error, "cannot {} {}: {} (errno {}){}", what, path, errno_text(), errno, advice);
}

// 73 is for a place that cannot be written to; a disk that is full or fails, or descriptors that have run out, are 74
// whenever they are noticed.
ExitCode code_of_refusal() {
  const bool io = errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EMFILE || errno == ENFILE;
  return io ? ExitCode::io_error : ExitCode::cannot_create;
}

void rename_to(const File& file, const std::string& path) {
  if (::rename(file.path().c_str(), path.c_str()) == 0) return;
  fail(code_of_refusal(), "cannot rename {} to {}: {} (errno {}); the finished data are in the former", file.path(),
       path, errno_text(), errno);
}

}  // namespace

File File::open_to_read(const std::string& path) {
  File file;
  file.path_ = path;
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd_ < 0)
    fail(ExitCode::no_input, "cannot open {}: {} (errno {}); check the path and its permissions", path, errno_text(),
         errno);
  return file;
}

File File::open_to_write(const std::string& path) { return open_writable(path, O_WRONLY); }
File File::open_or_create(const std::string& path) { return open_writable(path, O_RDWR | O_CREAT); }

File File::create(const std::string& path) {
  File file = open_or_create(path);
  file.truncate();
  return file;
}

File File::open_writable(const std::string& path, int how) {
  File file;
  file.path_ = path;
  file.fd_ = ::open(path.c_str(), how | O_CLOEXEC, 0666);
  if (file.fd_ >= 0) return file;
  if (code_of_refusal() == ExitCode::io_error) fail_io("create", path);
  fail(ExitCode::cannot_create, "cannot create {}: {} (errno {}); the folder must exist and be writable", path,
       errno_text(), errno);
}

size_t File::read(std::span<char> into) {
  for (;;) {
    ssize_t got = ::read(fd_, into.data(), into.size());
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) fail_io("read", path_);
  }
}

size_t File::read_at(uint64_t offset, std::span<char> into) const {
  size_t done = 0;
  while (done < into.size()) {
    ssize_t got = ::pread(fd_, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got > 0)
      done += static_cast<size_t>(got);
    else if (errno != EINTR)
      fail_io("read", path_);
  }
  return done;
}

void File::write(std::string_view data) {
  while (!data.empty()) {
    ssize_t put = ::write(fd_, data.data(), data.size());
    if (put >= 0)
      data.remove_prefix(static_cast<size_t>(put));
    else if (errno != EINTR)
      fail_io("write", path_);
  }
}

void File::truncate() {
  if (::ftruncate(fd_, 0) != 0) fail_io("truncate", path_);
}

void File::sync() {
  if (::fsync(fd_) != 0) fail_io("sync", path_);
}

void File::close() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == path.npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

void publish_file(File& file, const std::string& path) {
  file.sync();
  rename_to(file, path);
  File folder = File::open_to_read(folder_of(path));
  // Some network file systems cannot sync a folder; the rename itself stands there.
  if (::fsync(folder.fd()) != 0 && errno != EINVAL && errno != EROFS) fail_io("sync", folder.path());
}

void replace_file(const std::string& path, std::string_view data, Durable durable) {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool is_link = fs::is_symlink(path, error);
  const fs::file_type target = fs::status(path, error).type();
  if (target == fs::file_type::not_found && is_link) return File::create(path).write(data);
  if (target != fs::file_type::not_found && target != fs::file_type::regular)
    return File::open_to_write(path).write(data);
  const std::string place = is_link ? fs::canonical(path).string() : path;
  File file = File::create(place + ".tmp");
  file.write(data);
  durable == Durable::yes ? publish_file(file, place) : rename_to(file, place);
}

std::string read_whole_file(const std::string& path) {
  File file = File::open_to_read(path);
  std::string text;
  char piece[16384];
  for (size_t got; (got = file.read(piece)) != 0;) text.append(piece, got);
  return text;
}

}  // namespace trireme
