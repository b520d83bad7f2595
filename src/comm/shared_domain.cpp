#include "comm/shared_domain.h"

#include <atomic>
#include <string>

#include "base/error.h"
#include "comm/shared_window.h"

namespace trireme {

namespace {

// Every rank's window for the proof. A peer p that sees it writes answer_to(secret, p) at answers()[p].
struct Greeting {
  uint64_t job_token;
  uint64_t secret;
  std::atomic<uint64_t>* answers() { return reinterpret_cast<std::atomic<uint64_t>*>(this + 1); }  // [ranks]
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

uint64_t answer_to(uint64_t secret, int rank) {
  return (secret ^ static_cast<uint64_t>(rank)) * 0x9e3779b97f4a7c15u | 1;
}

}  // namespace

std::vector<bool> prove_shared_memory(const Communicator& world, uint64_t job_token) {
  size_t ranks = static_cast<size_t>(world.size()), me = static_cast<size_t>(world.rank());
  size_t bytes = sizeof(Greeting) + ranks * sizeof(std::atomic<uint64_t>);
  SharedWindow mine;
  Greeting* greeting = nullptr;
  try {
    mine = SharedWindow::create(job_token, bytes, "the proof of shared memory");
    greeting = new (mine.data()) Greeting{job_token, random_u64()};
  } catch (const Error&) {
    // No usable /dev/shm here: this rank shares memory with nobody, and the transport's name says so.
  }
  auto names = world.all_gather(std::as_bytes(std::span(mine.name())));

  std::vector<bool> seen(ranks, false);
  for (size_t r = 0; r < ranks; r++) {
    if (r == me || names[r].empty() || !greeting) continue;
    try {
      auto theirs =
          SharedWindow::open(std::string(reinterpret_cast<const char*>(names[r].data()), names[r].size()), bytes);
      auto* other = reinterpret_cast<Greeting*>(theirs.data());
      if (other->job_token != job_token) continue;
      other->answers()[me].store(answer_to(other->secret, world.rank()), std::memory_order_release);
      seen[r] = true;
    } catch (const Error&) {  // a rank of another host or namespace
    }
  }
  world.barrier();
  std::vector<bool> shares(ranks, false);
  for (size_t r = 0; r < ranks; r++)
    shares[r] = r == me || (seen[r] && greeting->answers()[r].load(std::memory_order_acquire) ==
                                           answer_to(greeting->secret, static_cast<int>(r)));
  return shares;
}

}  // namespace trireme
