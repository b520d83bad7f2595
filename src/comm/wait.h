#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "base/bounded_call.h"
#include "base/patience.h"

namespace trireme {

// Every wait of a rank goes through one Waiter: it spins briefly, then yields the CPU, lets all data planes make
// progress meanwhile, and has a deadline. Belongs to the rank's main thread.
class Waiter {
 public:
  explicit Waiter(std::chrono::milliseconds deadline) : deadline_(deadline) {}
  // How the job ends when a call passes its deadline that only a Watchdog can see; MpiSession::abort unless it is told.
  Watchdog::End end() const;
  void end_by(Watchdog::End end) { end_ = std::move(end); }

  // Called again and again while waiting (UCX progress, completion of MPI sends). Returns its place for remove().
  size_t add_progress(std::function<void()> progress) {
    progress_.push_back(std::move(progress));
    return progress_.size() - 1;
  }
  void remove(size_t place) { progress_[place] = nullptr; }

  // Until done() is true. Throws Error(stuck) naming `what` ("step 17: reduce of layer 3 from rank 2 on n2") when the
  // deadline passes in which this process ran. `what` is called only then.
  template <typename Done, typename What>
  void until(const Done& done, const What& what) {
    for (int i = 0; i < kSpins; i++) {
      if (done()) return;
      pause();
    }
    const auto start = std::chrono::steady_clock::now();
    Patience patience(deadline_, start);
    while (!done()) {
      progress();
      yield();
      if (!patience.over()) continue;
      if (done()) break;
      expire(what());
    }
    waited_ += std::chrono::steady_clock::now() - start;
  }

  void progress() {
    for (auto& p : progress_)
      if (p) p();
  }
  std::chrono::milliseconds deadline() const { return deadline_; }
  void set_deadline(std::chrono::milliseconds deadline) { deadline_ = deadline; }
  double waited_seconds() const { return std::chrono::duration<double>(waited_).count(); }  // beyond the spins

 private:
  // Spins before the first yield: about 5 us, the round trip of two cores; more would starve ranks that share one.
  static constexpr int kSpins = 200;
  static void pause();
  static void yield();
  [[noreturn]] void expire(const std::string& what) const;

  std::chrono::milliseconds deadline_;
  Watchdog::End end_;
  std::chrono::steady_clock::duration waited_{};
  std::vector<std::function<void()>> progress_;
};

// Another deadline while it lives.
class TemporaryDeadline {
 public:
  TemporaryDeadline(Waiter& waiter, std::chrono::milliseconds deadline) : waiter_(waiter), before_(waiter.deadline()) {
    waiter.set_deadline(deadline);
  }
  ~TemporaryDeadline() { waiter_.set_deadline(before_); }
  TemporaryDeadline(const TemporaryDeadline&) = delete;
  TemporaryDeadline& operator=(const TemporaryDeadline&) = delete;

 private:
  Waiter& waiter_;
  std::chrono::milliseconds before_;
};

}  // namespace trireme
