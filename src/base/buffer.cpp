#include "base/buffer.h"

#include <sys/mman.h>

#include "base/error.h"
#include "base/held_memory.h"

namespace trireme {

namespace {
constexpr size_t kHugePage = size_t{2} << 20;  // bytes, x86-64
size_t mapped_bytes(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }
void unmap(std::byte* data, size_t bytes, void*) noexcept {
  drop_host(data);
  munmap(data, mapped_bytes(bytes));
}
}  // namespace

Buffer::Buffer(size_t bytes, const char* what) : bytes_(bytes), release_(unmap) {
  if (bytes == 0) return;
  void* p = mmap(nullptr, mapped_bytes(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    fail(ExitCode::out_of_memory, "out of memory: {} MiB for {}; use more ranks, or lower --max-seqs or --kv-gib",
         bytes >> 20, what);
  if (bytes >= kHugePage) madvise(p, mapped_bytes(bytes), MADV_HUGEPAGE);  // advice only: 5-10 % more read bandwidth
  data_ = static_cast<std::byte*>(p);
  hold_host(data_, bytes);
}

}  // namespace trireme
