#include "comm/bounded_call.h"

#include <unistd.h>

#include <cstdio>

#include "base/error.h"

namespace trireme {

BoundedCall::BoundedCall(std::string what, std::chrono::milliseconds deadline, End end)
    : clock_([this, what = std::move(what), deadline, end] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, deadline, [this] { return returned_; })) return;
        char host[256] = "";
        gethostname(host, sizeof host - 1);
        std::fprintf(stderr, "trireme: error: waited %.0f s for %s (process %d on %s): a rank is lost or stuck\n",
                     std::chrono::duration<double>(deadline).count(), what.c_str(), static_cast<int>(getpid()), host);
        std::fflush(stderr);
        end(static_cast<int>(ExitCode::rank_lost));
      }) {}

BoundedCall::~BoundedCall() {
  {
    std::lock_guard lock(mutex_);
    returned_ = true;
  }
  changed_.notify_one();
  clock_.join();
}

}  // namespace trireme
