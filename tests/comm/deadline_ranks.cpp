// A rank that stays away: the others must say so within the deadline, in every kind of wait, with its name.
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "base/bounded_call.h"
#include "comm/collective.h"
#include "tests/comm/ranks.h"

using namespace trireme;
using namespace trireme::testing;

namespace {

constexpr std::chrono::milliseconds kDeadline{400}, kMargin{2000};

// The last rank sleeps while the others wait for it. `names`: what the error must contain.
void absent(Ranks& ranks, const std::string& name, const std::string& names, const std::function<void()>& wait,
            const std::function<void()>& late) {
  ranks.test(name, [&] {
    bool away = ranks.world.rank() == ranks.world.size() - 1;
    if (away) {
      std::this_thread::sleep_for(kDeadline + kMargin / 2);
      late();
      return;
    }
    auto start = std::chrono::steady_clock::now();
    std::string said = "nothing";
    ExitCode code = ExitCode::done;
    ranks.world.waiter().set_deadline(kDeadline);
    try {
      wait();
    } catch (const Error& error) {
      said = error.what();
      code = error.code();
    }
    ranks.world.waiter().set_deadline(std::chrono::seconds(60));
    auto took = std::chrono::steady_clock::now() - start;
    ranks.check(code == ExitCode::stuck && said.find(names) != std::string::npos, "said: " + said);
    ranks.check(took >= kDeadline && took < kDeadline + kMargin, "within the deadline");
  });
}

void over(Ranks& ranks, int host_ranks) {
  Communicator& world = ranks.world;
  int last = world.size() - 1;
  auto fabric = Fabric::create(world, host_ranks);
  std::vector<int> members(static_cast<size_t>(world.size()));
  std::iota(members.begin(), members.end(), 0);
  {
    auto group = fabric->collective(members, 64);
    std::vector<Collective::Piece> all(members.size(), {0, 64, 0, 1});
    std::string how = group->transport();
    absent(
        ranks, "an exchange over " + how, fmt::format("world rank {}", last), [&] { group->exchange(all, all); },
        [&] { group->exchange(all, all); });
    if (how != "shm") return;  // a message that was given up cannot be waited for again
    ranks.test("and the next one finds all present again, " + how, [&] { group->exchange(all, all); });
  }
  if (last == 1) {
    auto sender = world.rank() == 1 ? fabric->sender(0, 64, 2) : nullptr;
    auto receiver = world.rank() == 0 ? fabric->receiver(1, 64, 2) : nullptr;
    std::byte message[8] = {};
    absent(
        ranks, "a channel", "from world rank 1", [&] { receiver->receive(message); }, [] {});
  }
}

std::atomic<int> ended_with{0};

// A call that nobody can poll: the clock ends the job, in place of which this test takes a note.
void bounded(Ranks& ranks) {
  ranks.test("a library call that does not return", [&] {
    {
      const BoundedCall call("all ranks in a test", kDeadline, [](int code, const std::string&) { ended_with = code; });
      std::this_thread::sleep_for(kDeadline + kMargin / 4);
    }
    ranks.check(ended_with == static_cast<int>(ExitCode::rank_lost), "the deadline passed");
    ended_with = 0;
    {
      const BoundedCall call("all ranks in a test", kDeadline, [](int code, const std::string&) { ended_with = code; });
    }
    ranks.check(ended_with == 0, "a call that returns ends nothing");
  });
}

}  // namespace

int main(int argc, char** argv) {
  return run_ranks(argc, argv, std::chrono::seconds(60), [](Ranks& ranks) {
    Communicator& world = ranks.world;
    int last = world.size() - 1;
    absent(
        ranks, "a message that does not come", fmt::format("from rank {}", last),
        [&] { world.receive(last, 3, "a plan"); }, [] {});
    bounded(ranks);
    over(ranks, 0);
    over(ranks, 1);
  });
}
