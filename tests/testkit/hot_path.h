#pragma once

#include <cstdint>

namespace trireme::testkit {

// What a stretch of code asked the system for. Counts allocations and mutex locks of all threads, and system calls of
// the calling thread (by Linux's syscall user dispatch). To be linked into a program of its own: it defines malloc.
struct HotPathCounts {
  int64_t allocations = 0;
  int64_t locks = 0;
  int64_t system_calls = 0;        // stops counting at the first: there should be none
  int64_t first_system_call = -1;  // its number
};

void start_watching(bool system_calls);
HotPathCounts stop_watching();
bool can_watch_system_calls();  // the kernel has it (5.11 and later, x86-64)

}  // namespace trireme::testkit
