#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "comm/mpi_check.h"
#include "comm/nccl.h"
#include "comm/shared_window.h"
#include "comm/ucx.h"
#include "comm/wait.h"

using namespace trireme;

TEST_CASE("a wait ends when its condition holds, and progress is made meanwhile") {
  Waiter waiter(std::chrono::seconds(10));
  int progress = 0;
  waiter.add_progress([&] { progress++; });
  waiter.until([&] { return progress == 3; }, [] { return std::string("three steps"); });
  CHECK(progress == 3);
  CHECK(waiter.waited_seconds() > 0);
}

TEST_CASE("a wait past its deadline is an error that says what was waited for") {
  Waiter waiter(std::chrono::milliseconds(20));
  try {
    waiter.until([] { return false; }, [] { return std::string("rank 2 of step 17"); });
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::stuck);
    CHECK(std::string(error.what()).find("waited 0.02 s for rank 2 of step 17") != std::string::npos);
    CHECK(std::string(error.what()).find("--deadline-s above 0.02") != std::string::npos);
  }
}

TEST_CASE("what comes with the last look is not too late") {
  Waiter waiter(std::chrono::milliseconds(40));
  int looks = 0;
  waiter.add_progress([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(15));  // more than the quarter of the deadline that counts
    looks++;
  });
  CHECK_NOTHROW(waiter.until([&] { return looks == 4; }, [] { return std::string("the fourth look"); }));
  CHECK_THROWS_AS(waiter.until([&] { return looks == 9; }, [] { return std::string("five more"); }), Error);
}

TEST_CASE("time in which this process was stopped is not waited") {
  Waiter waiter(std::chrono::milliseconds(400));
  int looks = 0;
  waiter.add_progress([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(looks == 0 ? 600 : 1));  // as a SIGSTOP looks from inside
    looks++;
  });
  CHECK_NOTHROW(waiter.until([&] { return looks == 5; }, [] { return std::string("five looks"); }));
}

TEST_CASE("progress that was removed is not made") {
  Waiter waiter(std::chrono::seconds(1));
  int a = 0, b = 0;
  size_t place = waiter.add_progress([&] { a++; });
  waiter.add_progress([&] { b++; });
  waiter.remove(place);
  waiter.progress();
  CHECK(a == 0);
  CHECK(b == 1);
}

TEST_CASE("counts beyond MPI's int are refused, not wrapped") {
  CHECK(checked_int(2147483647u, "a message") == 2147483647);
  CHECK_THROWS_AS(checked_int(size_t{1} << 31, "a message"), Error);
}

TEST_CASE("two mappings of a shared window are one memory, and the name goes when asked") {
  auto mine = SharedWindow::create(7, 10'000, "a test");
  auto theirs = SharedWindow::open(mine.name(), 10'000);
  CHECK(mine.data() != theirs.data());
  std::memcpy(theirs.data() + 9'990, "sculler", 7);
  CHECK(std::memcmp(mine.data() + 9'990, "sculler", 7) == 0);
  std::string name = mine.name();
  mine.unlink();
  CHECK_THROWS_AS(SharedWindow::open(name, 10'000), Error);
  CHECK(mine.data()[9'990] == std::byte{'s'});
}

TEST_CASE("a window that goes out of scope leaves no name behind") {
  std::string name = [] { return SharedWindow::create(7, 64, "a test").name(); }();
  CHECK_THROWS_AS(SharedWindow::open(name, 64), Error);
}

TEST_CASE("a peer's window of another size is refused") {
  auto mine = SharedWindow::create(7, 8192, "a test");
  CHECK_THROWS_AS(SharedWindow::open(mine.name(), 4096), Error);
}

TEST_CASE("more shared memory than there is free is refused with the arithmetic, and nothing stays") {
  try {
    SharedWindow::create(7, size_t{1} << 46, "the windows of a group");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::out_of_memory);
    CHECK(std::string(error.what()).find("the windows of a group") != std::string::npos);
  }
}

TEST_CASE("a dead job's window is swept, a living one's and a young one's are not") {
  auto living = SharedWindow::create(7, 64, "a test");
  auto orphan = [](const char* tail, int age) {
    std::string name = fmt::format("/trireme-{}-{}", getuid(), tail);
    int fd = shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
    timespec times[2] = {{time(nullptr) - age, 0}, {time(nullptr) - age, 0}};
    futimens(fd, times);
    close(fd);
    return name;
  };
  std::string old = orphan("old-orphan", 3600), young = orphan("young-orphan", 0);
  {
    int fd = shm_open(living.name().c_str(), O_RDWR, 0);
    timespec times[2] = {{time(nullptr) - 3600, 0}, {time(nullptr) - 3600, 0}};
    futimens(fd, times);
    close(fd);
  }
  CHECK(sweep_shared_windows() == 1);
  CHECK(shm_unlink(old.c_str()) != 0);
  CHECK(shm_unlink(young.c_str()) == 0);
  CHECK_NOTHROW(SharedWindow::open(living.name(), 64));
}

TEST_CASE("tags of different senders, streams and sequences never meet") {
  CHECK(UcxTag{1, 2, 3}.packed() != UcxTag{2, 1, 3}.packed());
  CHECK(UcxTag{0, 0x8001, 0}.packed() != UcxTag{0, 1, 0}.packed());
  CHECK(UcxTag{1, 2, 1u << 24}.packed() == UcxTag{1, 2, 0}.packed());
}

namespace {

Nccl nccl_of(std::vector<std::string> files, const char* words = "") {
  setenv("TRIREME_TEST_NCCL", words, 1);
  return Nccl(files);
}

}  // namespace

TEST_CASE("the first NCCL that serves is taken; one that does not says why") {
  CHECK(nccl_of({"/nowhere/libnccl.so.2", TRIREME_FAKE_NCCL}).version() == "2.28.9");
  CHECK(nccl_of({TRIREME_LACKING_NCCL, TRIREME_FAKE_NCCL}).path() == TRIREME_FAKE_NCCL);
  CHECK(nccl_of({TRIREME_FAKE_NCCL}, "version=21801").missing().empty());
  CHECK(nccl_of({TRIREME_FAKE_NCCL}, "version=21800").missing().ends_with("is NCCL 2.18.0, 2.18.1 or later is needed"));
  CHECK(nccl_of({TRIREME_FAKE_NCCL}, "version=2708").missing().find("is NCCL 2.7.8,") != std::string::npos);
  CHECK(nccl_of({TRIREME_LACKING_NCCL, "/nowhere"}).missing().ends_with("(NCCL 2.28.9) has no ncclCommFinalize"));
  CHECK(nccl_of({"/nowhere/libnccl.so.2"}).missing().starts_with("it does not open: /nowhere/libnccl.so.2"));
  CHECK(nccl_of({"/nowhere/a", "/nowhere/b"}).missing() == "there is no libnccl.so.2");
  CHECK(nccl_of({}).missing() == "there is no libnccl.so.2");
}

TEST_CASE("transports are read from NCCL's own log") {
  CHECK(nccl_transports("").empty());
  CHECK(nccl_transports("n1:7:9 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.2<0>\n").empty());
  CHECK(nccl_transports("n1:7:9 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n"
                        "n1:7:9 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n") == "P2P/CUMEM");
  CHECK(nccl_transports("Channel 00/0 : 0[d6] -> 2[de] via P2P/IPC comm 0x9bbf3b0 nRanks 40\n"
                        "Channel 02/0 : 0[6] -> 1[6] [send] via NET/IB/1/GDRDMA\nChannel 00 : 1 -> 0 [receive] via "
                        "NET/AWS Libfabric/5/GDRDMA/Shared") == "NET/AWS Libfabric/GDRDMA+NET/IB/GDRDMA+P2P/IPC");
  CHECK(nccl_transports("Channel 00/0 : 0[0] -> 1[1] [send] via NET/Socket/0\nChannel 00/1 : 0[0] -> 1[1] via "
                        "SHM/direct/direct\n") == "NET/Socket+SHM/direct");
}
