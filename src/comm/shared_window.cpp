#include "comm/shared_window.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "base/held_memory.h"

namespace trireme {

namespace {

constexpr const char* kFolder = "/dev/shm";
constexpr int kSweepAge = 60;  // seconds; a younger window may be about to be locked by its creator

std::string name_start() { return fmt::format("trireme-{}-", getuid()); }

}  // namespace

uint64_t random_u64() {
  uint64_t value = 0;
  must(getrandom(&value, sizeof value, 0) == sizeof value, "getrandom gives 8 bytes");
  return value;
}

SharedWindow SharedWindow::create(uint64_t job_token, size_t bytes, const char* what) {
  SharedWindow window;
  std::string name = fmt::format("/{}{:016x}-{:016x}", name_start(), job_token, random_u64());
  window.fd_ = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (window.fd_ < 0)
    fail(ExitCode::cannot_create, "cannot create {}{} for {}: {}; is /dev/shm mounted and writable?", kFolder, name,
         what, errno_text());
  window.name_ = name;
  flock(window.fd_, LOCK_EX | LOCK_NB);
  struct statvfs space {};
  size_t free_bytes = fstatvfs(window.fd_, &space) == 0 ? space.f_bavail * space.f_frsize : bytes;
  int code = free_bytes < bytes ? ENOSPC : 0;
  if (code == 0 && ftruncate(window.fd_, static_cast<off_t>(bytes)) != 0) code = errno;
  if (code == 0) code = posix_fallocate(window.fd_, 0, static_cast<off_t>(bytes));
  if (code != 0) {
    errno = code;
    fail(ExitCode::out_of_memory,
         "{} MiB of shared memory for {}: {} ({} MiB are free in {}); enlarge it (containers: --shm-size), or lower "
         "--max-step-tokens",
         (bytes >> 20) + 1, what, errno_text(), free_bytes >> 20, kFolder);
  }
  window.map(bytes);
  window.made_ = true;
  hold_shared(static_cast<int64_t>(bytes));
  return window;
}

SharedWindow SharedWindow::open(const std::string& name, size_t bytes) {
  SharedWindow window;
  window.fd_ = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (window.fd_ < 0) fail(ExitCode::io_error, "cannot open {}{} of a peer: {}", kFolder, name, errno_text());
  struct stat status {};
  if (fstat(window.fd_, &status) != 0 || status.st_size != static_cast<off_t>(bytes) || status.st_uid != getuid())
    fail(ExitCode::io_error, "{}{} of a peer has {} bytes of user {}, not {} of user {}", kFolder, name, status.st_size,
         status.st_uid, bytes, getuid());
  window.map(bytes);
  close(std::exchange(window.fd_, -1));
  return window;
}

SharedWindow SharedWindow::take(const std::string& name, size_t bytes) {
  SharedWindow window = open(name, bytes);
  window.name_ = name;
  return window;
}

void SharedWindow::map(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, 0);
  if (p == MAP_FAILED)
    fail(ExitCode::out_of_memory, "cannot map {} MiB of shared memory: {}", bytes >> 20, errno_text());
  data_ = static_cast<std::byte*>(p);
  bytes_ = bytes;
}

void SharedWindow::unlink() {
  if (!name_.empty()) shm_unlink(name_.c_str());
  name_.clear();
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

SharedWindow::~SharedWindow() {
  unlink();
  if (data_) munmap(data_, bytes_);
  if (made_) hold_shared(-static_cast<int64_t>(bytes_));
}

SharedWindow& SharedWindow::operator=(SharedWindow&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(made_, other.made_);
  return *this;
}

int sweep_shared_windows() {
  int swept = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder, error)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(name_start())) continue;
    int fd = shm_open(("/" + name).c_str(), O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) continue;
    struct stat status {};
    bool old = fstat(fd, &status) == 0 && status.st_uid == getuid() && time(nullptr) - status.st_mtime > kSweepAge;
    if (old && flock(fd, LOCK_EX | LOCK_NB) == 0 && shm_unlink(("/" + name).c_str()) == 0) swept++;
    close(fd);
  }
  return swept;
}

}  // namespace trireme
