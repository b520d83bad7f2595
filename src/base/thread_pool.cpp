#include "base/thread_pool.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <system_error>

#include "base/error.h"

namespace trireme {

namespace {

// Spins before a waiting thread gives its CPU away: some 20 us, longer than the gap between two operations of a step.
// Then yields (some ms) before it sleeps. Threads that are not pinned share their CPUs with others, who are probably
// the ones being waited for: those sleep almost at once.
constexpr int kSpins = 2000, kYields = 2000;
constexpr int kSpinsShared = 50, kYieldsShared = 4;

void pin(pthread_t thread, std::span<const int> cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(static_cast<size_t>(cpu), &set);
  pthread_setaffinity_np(thread, sizeof set, &set);  // best effort: an unpinned thread is slower, never wrong
}

}  // namespace

ThreadPool::ThreadPool(int threads, std::span<const int> cpus)
    : threads_(threads < 1 ? 1 : threads),
      spins_(cpus.empty() ? kSpinsShared : kSpins),
      yields_(cpus.empty() ? kYieldsShared : kYields) {
  if (!cpus.empty()) pin(pthread_self(), cpus.first(1));
  for (int i = 1; i < threads_; i++) {
    start_worker(i);
    if (static_cast<size_t>(i) < cpus.size())
      pin(workers_.back().native_handle(), cpus.subspan(static_cast<size_t>(i), 1));
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::start_worker(int part) {
  try {
    workers_.emplace_back([this, part] { serve(part); });
  } catch (const std::system_error& error) {
    stop();
    fail(
        ExitCode::configuration,
        "cannot start thread {} of {} ({}); raise what limits processes (ulimit -u, pids.max of the control group), or "
        "give fewer --threads",
        part + 1, threads_, error.what());
  }
}

void ThreadPool::stop() {
  stop_.store(true);
  generation_.fetch_add(1);
  generation_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_erased(Work work, const void* context) {
  if (threads_ == 1) return work(context, 0);
  work_ = work;
  context_ = context;
  remaining_.store(threads_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();  // a system call only when a worker sleeps
  work(context, 0);
  for (int left, spins = 0; (left = remaining_.load(std::memory_order_acquire)) != 0; spins++)
    wait_a_bit(remaining_, left, spins);
}

template <typename T>
void ThreadPool::wait_a_bit(const std::atomic<T>& value, T seen, int spins) const {
  if (spins < spins_)
    _mm_pause();
  else if (spins < spins_ + yields_)
    sched_yield();
  else
    value.wait(seen, std::memory_order_acquire);
}

void ThreadPool::serve(int part) {
  for (uint32_t seen = 0;;) {
    for (int spins = 0; generation_.load(std::memory_order_acquire) == seen; spins++)
      wait_a_bit(generation_, seen, spins);
    seen++;
    if (stop_.load()) return;
    work_(context_, part);
    if (remaining_.fetch_sub(1, std::memory_order_release) == 1)
      remaining_.notify_one();  // a system call only when the caller sleeps
  }
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET(static_cast<size_t>(i), &set)) cpus.push_back(i);
  return cpus;
}

void stay_on(std::span<const int> cpus) {
  if (!cpus.empty()) pin(pthread_self(), cpus);
}

}  // namespace trireme
