#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

// What this process's own allocators hold now, in bytes. Libraries, the heap and the program stand beside it.
struct HeldMemory {
  int64_t host = 0;           // Buffers of this process's memory
  int64_t host_resident = 0;  // of these, in pages that somebody has touched
  int64_t shared = 0;         // windows that this process made and others of the host may map
  int64_t pinned = 0;         // page-locked for a GPU
  int64_t device = 0;         // of GPUs
  int64_t total() const { return host + shared + pinned + device; }
};
HeldMemory held_memory();  // walks page tables: not for the hot path

// For the allocators. host: anonymous memory of its own mapping. The others: bytes more, or fewer.
void hold_host(const std::byte* data, size_t bytes);
void drop_host(const std::byte* data) noexcept;
void hold_shared(int64_t bytes) noexcept;
void hold_pinned(int64_t bytes) noexcept;
void hold_device(int64_t bytes) noexcept;

// Memory of this process that the kernel counts as its own: touched anonymous pages and pages of files, the program's
// and libraries' among them, but for what is shared. -1: it does not say.
int64_t private_resident_bytes();

}  // namespace trireme
