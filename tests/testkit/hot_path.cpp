#include "testkit/hot_path.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <atomic>
#include <cstddef>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

std::atomic<bool> watching{false};
std::atomic<int64_t> allocations{0}, locks{0};
constexpr char kAllow = 0, kBlock = 1;  // SYSCALL_DISPATCH_FILTER_ALLOW and _BLOCK
volatile char selector = kAllow;
volatile int64_t system_calls = 0, first_system_call = -1;

void count(std::atomic<int64_t>& what) {
  if (watching.load(std::memory_order_relaxed)) what.fetch_add(1, std::memory_order_relaxed);
}

// The blocked call fails with ENOSYS; from here on all are let through.
void on_system_call(int, siginfo_t* info, void*) {
  selector = kAllow;
  system_calls = system_calls + 1;
  first_system_call = info->si_syscall;
}

}  // namespace

extern "C" {

void* malloc(size_t bytes) {
  count(allocations);
  return __libc_malloc(bytes);
}
void* calloc(size_t n, size_t bytes) {
  count(allocations);
  return __libc_calloc(n, bytes);
}
void* realloc(void* p, size_t bytes) {
  count(allocations);
  return __libc_realloc(p, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  count(allocations);
  return __libc_memalign(alignment, bytes);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  using Lock = int (*)(pthread_mutex_t*);
  static const Lock real = reinterpret_cast<Lock>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  count(locks);
  return real(mutex);
}

}  // extern "C"

namespace trireme::testkit {

bool can_watch_system_calls() {
  struct sigaction action {};
  action.sa_sigaction = on_system_call;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGSYS, &action, nullptr) != 0) return false;
  return prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0;
}

void start_watching(bool with_system_calls) {
  allocations = locks = 0;
  system_calls = 0;
  first_system_call = -1;
  watching = true;
  if (with_system_calls) selector = kBlock;
}

HotPathCounts stop_watching() {
  selector = kAllow;
  watching = false;
  return {allocations, locks, system_calls, first_system_call};
}

}  // namespace trireme::testkit
