#include "testkit/cuda/emulated_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "testkit/cuda/emulated_settings.h"

namespace trireme::testkit {

namespace {

constexpr size_t kPage = 4096;

}  // namespace

// Its own memory is its kernels' alone. By a protection key where there are keys: a register of the thread's, while the
// kernel goes through all pages, for each time that a host asks how far a stream is.
GpuMemory::GpuMemory()
    : total(static_cast<size_t>(setting("TRIREME_EMULATED_GPU_MIB", 8192)) << 20),
      key_(pkey_alloc(0, PKEY_DISABLE_ACCESS)) {}

void GpuMemory::let(bool touch) {
  if (key_ >= 0)
    pkey_set(key_, touch ? 0 : PKEY_DISABLE_ACCESS);
  else
    for (auto& [data, bytes] : own) mprotect(data, whole_pages(bytes), touch ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void GpuMemory::add(void* data, size_t bytes) {
  if (key_ >= 0) pkey_mprotect(data, whole_pages(bytes), PROT_READ | PROT_WRITE, key_);
  own[static_cast<std::byte*>(data)] = bytes;
}

bool GpuMemory::covers(const std::map<std::byte*, size_t>& ranges, const void* data, size_t bytes) {
  auto* begin = static_cast<std::byte*>(const_cast<void*>(data));
  auto after = ranges.upper_bound(begin);
  if (after == ranges.begin()) return false;
  const auto& [first, size] = *std::prev(after);
  return begin + bytes <= first + size;
}

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void* map(size_t bytes, int protection, int file, bool keeps_writes) {
  const int kind = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : keeps_writes ? MAP_PRIVATE : MAP_SHARED;
  void* data = mmap(nullptr, whole_pages(bytes), protection, kind, file, 0);
  return data == MAP_FAILED ? nullptr : data;
}

// Pages of a file that the system takes back are zeros again and cost nothing until they are touched: a cache of keys
// and values is as large as the memory lets it be, and a test fills little of it.
void fill(void* data, int value, size_t bytes) {
  auto* first = static_cast<std::byte*>(data);
  const auto address = reinterpret_cast<uintptr_t>(data);
  const size_t before = std::min(bytes, whole_pages(address) - address), pages = (bytes - before) / kPage * kPage;
  if (value != 0 || pages == 0 || madvise(first + before, pages, MADV_REMOVE) != 0) {
    std::memset(data, value, bytes);
    return;
  }
  std::memset(first, 0, before);
  std::memset(first + before + pages, 0, bytes - before - pages);
}

}  // namespace trireme::testkit
