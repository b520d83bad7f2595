#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace trireme {

// A piece of memory that several processes of one host map. Created exclusively under a name nobody can guess, opened
// by the peers who were told the name, unlinked as soon as they all have it: nothing is left behind but by a crash
// between the two, and the next job of the same user sweeps that. Owns the mapping (and, until unlink(), the name);
// moves only.
class SharedWindow {
 public:
  SharedWindow() = default;
  // Zeroed, and backed by real memory: the space in /dev/shm is checked and taken now, not by a SIGBUS later.
  static SharedWindow create(uint64_t job_token, size_t bytes, const char* what);
  static SharedWindow open(const std::string& name, size_t bytes);
  static SharedWindow take(const std::string& name, size_t bytes);  // opens it and owns its name from now on
  ~SharedWindow();
  SharedWindow(SharedWindow&& other) noexcept { *this = std::move(other); }
  SharedWindow& operator=(SharedWindow&& other) noexcept;

  void unlink();  // the name; the memory lives while someone maps it
  const std::string& name() const { return name_; }
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void map(size_t bytes);

  std::string name_;
  int fd_ = -1;  // of the creator until unlink(); its lock tells a sweeper that the owner lives
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool made_ = false;  // not a peer's
};

// Unlinks windows of this user whose creator is gone. Returns how many.
int sweep_shared_windows();

uint64_t random_u64();  // from the kernel

}  // namespace trireme
