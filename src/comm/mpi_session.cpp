#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/mpi_check.h"

namespace trireme {

namespace {

constexpr std::chrono::seconds kFinalizeLimit{30};  // all work is done and all ranks are here: more is a lost rank
constexpr unsigned kAbortLimit = 2;                 // seconds; Open MPI's own abort has been seen to hang

bool mpi_is_up() {
  int begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  return begun && !ended;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  int provided = 0;
  mpi_check(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE)
    fail(ExitCode::configuration, "this MPI library has no MPI_THREAD_MULTIPLE (level {} of {}); use one built with it",
         provided, MPI_THREAD_MULTIPLE);
  mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

// MPI_Finalize waits for all ranks and takes no deadline: another thread holds the clock.
MpiSession::~MpiSession() {
  if (!mpi_is_up() || std::uncaught_exceptions() > 0) return;
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::thread clock([&] {
    std::unique_lock lock(mutex);
    if (ended.wait_for(lock, kFinalizeLimit, [&] { return done; })) return;
    std::fprintf(stderr, "trireme: a rank did not come to MPI_Finalize within %d s\n",
                 static_cast<int>(kFinalizeLimit.count()));
    std::_Exit(static_cast<int>(ExitCode::rank_lost));
  });
  MPI_Finalize();
  {
    std::lock_guard lock(mutex);
    done = true;
  }
  ended.notify_one();
  clock.join();
}

void MpiSession::abort(int exit_code) {
  if (mpi_is_up()) {
    signal(SIGALRM, SIG_DFL);
    alarm(kAbortLimit);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  std::_Exit(exit_code);
}

}  // namespace trireme
