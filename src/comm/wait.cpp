#include "comm/wait.h"

#include <immintrin.h>
#include <sched.h>

#include "base/error.h"
#include "comm/communicator.h"

namespace trireme {

void Waiter::pause() { _mm_pause(); }
void Waiter::yield() { sched_yield(); }

Watchdog::End Waiter::end() const { return end_ ? end_ : Watchdog::End(MpiSession::abort); }

void Waiter::expire(const std::string& what) const {
  fail(
      ExitCode::stuck,
      "waited {0} s for {1}; a rank is slow, stopped or cut off: see the other ranks' last lines, and where it is only "
      "slow, give a --deadline-s above {0}",
      std::chrono::duration<double>(deadline_).count(), what);
}

}  // namespace trireme
