#include "base/bounded_call.h"

#include <unistd.h>

#include <cstdio>
#include <future>
#include <utility>

namespace trireme {

BoundedCall::BoundedCall(std::string what, std::chrono::milliseconds deadline, End end, ExitCode code,
                         const char* fault)
    : clock_([this, what = std::move(what), deadline, end, code, fault] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, deadline, [this] { return returned_; })) return;
        char host[256] = "";
        gethostname(host, sizeof host - 1);
        std::fprintf(stderr, "trireme: error: waited %g s for %s (process %d on %s): %s\n",
                     std::chrono::duration<double>(deadline).count(), what.c_str(), static_cast<int>(getpid()), host,
                     fault);
        std::fflush(stderr);
        end(static_cast<int>(code));
      }) {}

BoundedCall::~BoundedCall() {
  {
    std::lock_guard lock(mutex_);
    returned_ = true;
  }
  changed_.notify_one();
  clock_.join();
}

bool came_back(std::chrono::milliseconds limit, std::function<void()> call) {
  std::packaged_task<void()> task(std::move(call));
  std::future<void> done = task.get_future();
  std::thread(std::move(task)).detach();
  return done.wait_for(limit) == std::future_status::ready;
}

}  // namespace trireme
