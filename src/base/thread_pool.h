#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace trireme {

// A team of threads that runs one function at a time, the caller as thread 0. The function's result may not depend on
// how many threads there are: that is how every operation of ours is written.
class ThreadPool {
 public:
  // cpus[i]: the logical CPU to pin thread i to; empty: no thread is pinned (more threads than CPUs).
  // Throws Error(configuration) when the system has no more threads to give.
  explicit ThreadPool(int threads, std::span<const int> cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }

  // Calls f(i) for i in [0, size()) at once and returns when all are done. Does not allocate or lock. f may not throw.
  template <typename F>
  void run(const F& f) {
    run_erased([](const void* context, int part) { (*static_cast<const F*>(context))(part); }, &f);
  }

 private:
  using Work = void (*)(const void*, int);
  void run_erased(Work work, const void* context);
  void start_worker(int part);
  void serve(int part);
  void stop();  // ends and joins the workers
  template <typename T>
  void wait_a_bit(const std::atomic<T>& value, T seen, int spins) const;

  int threads_;
  int spins_, yields_;  // before a wait sleeps
  Work work_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> remaining_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

// The part `part` of `parts` nearly equal, contiguous parts of [0, count).
struct Range {
  int64_t begin, end;
};
constexpr Range part_of(int64_t count, int part, int parts) {
  return {count * part / parts, count * (part + 1) / parts};
}

// The logical CPUs that this thread may run on: at the start of the program, as the launcher bound it.
std::vector<int> allowed_cpus();
// Keeps this thread, and those that it starts from now on, to these CPUs; memory that they touch first comes to lie
// near them. Empty: changes nothing. Best effort, as pinning is.
void stay_on(std::span<const int> cpus);

}  // namespace trireme
