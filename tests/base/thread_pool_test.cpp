#include "base/thread_pool.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "testkit/error_of.h"

namespace trireme::testing {

TEST_CASE("run calls the function once on every thread and returns when all are done") {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    std::vector<int> calls(static_cast<size_t>(threads), 0);
    for (int round = 1; round <= 200; round++) {
      pool.run([&](int part) { calls[static_cast<size_t>(part)]++; });
      for (int count : calls) CHECK(count == round);
    }
  }
}

TEST_CASE("a pool that slept wakes up") {
  ThreadPool pool(2);
  std::atomic<int> calls = 0;
  pool.run([&](int) { calls++; });
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  pool.run([&](int) { calls++; });
  CHECK(calls == 4);
}

TEST_CASE("a thread that the system does not give ends the pool's making in words, and those that it gave end") {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  rlimit tight = before;
  tight.rlim_cur = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{64} << 20);  // a few threads' stacks
  REQUIRE(setrlimit(RLIMIT_AS, &tight) == 0);
  const std::string said = testkit::error_of([] { ThreadPool pool(200); });
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(testkit::contains(said, "78: cannot start thread "));
  CHECK(testkit::contains(said, " of 200 "));
  CHECK(testkit::contains(said, "--threads"));
}

TEST_CASE("a pool of less than one thread is the caller") { CHECK(ThreadPool(0).size() == 1); }

TEST_CASE("parts are contiguous, cover everything and differ by one at most") {
  for (int64_t count : {0, 1, 7, 64, 1000})
    for (int parts : {1, 2, 3, 8}) {
      int64_t end = 0;
      for (int part = 0; part < parts; part++) {
        Range r = part_of(count, part, parts);
        CHECK(r.begin == end);
        CHECK(r.end - r.begin - count / parts <= 1);
        CHECK(r.end - r.begin >= count / parts);
        end = r.end;
      }
      CHECK(end == count);
    }
}

TEST_CASE("a thread that stays on CPUs keeps the threads that it starts there, too; no CPUs change nothing") {
  std::vector<int> own, of_child, unchanged;
  const std::vector<int> last = {allowed_cpus().back()};
  std::thread([&] {
    stay_on({});
    unchanged = allowed_cpus();
    stay_on(last);
    own = allowed_cpus();
    std::thread([&] { of_child = allowed_cpus(); }).join();
  }).join();
  CHECK(unchanged == allowed_cpus());
  CHECK(own == last);
  CHECK(of_child == last);
}

TEST_CASE("this process may run somewhere") { CHECK_FALSE(allowed_cpus().empty()); }

}  // namespace trireme::testing
