#include "base/bounded_call.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <future>
#include <utility>

#include "base/patience.h"

namespace trireme {

Watchdog::Watchdog(std::string whom, std::chrono::milliseconds deadline, End end, ExitCode code, const char* fault)
    : whom_(std::move(whom)), deadline_(deadline), end_(std::move(end)), code_(code), fault_(fault), clock_([this] {
        watch();
      }) {}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_one();
  clock_.join();
}

void Watchdog::watch() {
  const auto period = std::clamp<std::chrono::milliseconds>(deadline_ / 4, std::chrono::milliseconds(1),
                                                            std::chrono::milliseconds(1000));
  uint64_t seen = passages_;
  Patience patience(deadline_);
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, period, [this] { return over_; })) {
    const bool over = patience.over();  // before the passages: a call that came back meanwhile is not late
    const uint64_t now = passages_;
    if (std::exchange(seen, now) != now)
      patience = Patience(deadline_);
    else if (now % 2 == 1 && over)
      return bark(what_);
  }
}

void Watchdog::bark(const char* what) const {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const std::string said =
      fmt::format("waited {:g} s for {}{} (process {} on {}): {}", std::chrono::duration<double>(deadline_).count(),
                  whom_, what, getpid(), host, fault_);
  const char* clear = isatty(STDERR_FILENO) ? "\r\x1b[K" : "";  // of a line that a terminal may show, the progress
  std::fprintf(stderr, "%strireme: error: %s\n", clear, said.c_str());
  std::fflush(stderr);
  end_(static_cast<int>(code_), said);
}

// Only the watched thread writes, so a passage needs no atomic addition.
void Watchdog::pass() { passages_.store(passages_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

Watchdog::Call::Call(Watchdog& watchdog, const char* what) {
  if (watchdog.passages_.load(std::memory_order_relaxed) % 2 == 1) return;
  watchdog_ = &watchdog;
  watchdog.what_.store(what, std::memory_order_relaxed);
  watchdog.pass();
}

Watchdog::Call::~Call() {
  if (watchdog_) watchdog_->pass();
}

bool came_back(std::chrono::milliseconds limit, std::function<void()> call) {
  std::packaged_task<void()> task(std::move(call));
  std::future<void> done = task.get_future();
  std::thread(std::move(task)).detach();
  return done.wait_for(limit) == std::future_status::ready;
}

}  // namespace trireme
