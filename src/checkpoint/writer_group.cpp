#include "checkpoint/writer_group.h"

#include <algorithm>

#include "base/error.h"

namespace trireme {

namespace {

// A rank waits for others that convert a larger share, from a slower disk.
constexpr std::chrono::milliseconds kDeadline = std::chrono::hours(2);

}  // namespace

WriterGroup::WriterGroup(Communicator (*make)(Waiter&), std::chrono::milliseconds deadline)
    : waiter_(std::make_unique<Waiter>(std::max(kDeadline, deadline))), comm_(make(*waiter_)) {}

void WriterGroup::agree(const std::function<void()>& work) const {
  std::string text;
  ExitCode code = ExitCode::done;
  try {
    work();
  } catch (const Error& e) {
    text = e.what(), code = e.code();
  } catch (const std::bad_alloc&) {
    text = "out of memory while converting; use more ranks or free memory", code = ExitCode::out_of_memory;
  } catch (const std::exception& e) {
    text = e.what(), code = ExitCode::internal;
  }
  comm_.agree(text, static_cast<int>(code));
}

bool WriterGroup::has_alike(uint64_t digest) const {
  uint64_t set[] = {digest, ~digest};  // a bit that is set in both is one rank's in each
  combine(set);
  return (set[0] & set[1]) == 0;
}

}  // namespace trireme
