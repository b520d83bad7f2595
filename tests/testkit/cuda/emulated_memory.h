#pragma once

// The memory of a GPU that does not exist (emulated_gpu.h): files in memory, which other processes open, too, closed to
// the host.
#include <cstddef>
#include <map>

namespace trireme::testkit {

struct GpuMemory {
  std::map<std::byte*, size_t> own, locked;  // bytes by the first one; locked: the host's
  std::map<std::byte*, int> files;           // of own
  size_t used = 0;
  const size_t total;  // TRIREME_EMULATED_GPU_MIB

  GpuMemory();
  void let(bool touch);                // its own
  void add(void* data, size_t bytes);  // to its own, closed
  static bool covers(const std::map<std::byte*, size_t>& ranges, const void* data, size_t bytes);

 private:
  const int key_;
};

size_t whole_pages(size_t bytes);
// Of a file, or of none: whole pages. keeps_writes: they do not arrive in the file. Null: there is no memory.
void* map(size_t bytes, int protection, int file = -1, bool keeps_writes = false);
// As memset().
void fill(void* data, int value, size_t bytes);

}  // namespace trireme::testkit
