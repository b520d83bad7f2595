#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <exception>

#include "base/bounded_call.h"
#include "base/error.h"
#include "comm/communicator.h"
#include "comm/mpi_check.h"

namespace trireme {

namespace {

constexpr std::chrono::minutes kInitLimit{10};      // programs and libraries come from a slow file system
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
  const BoundedCall init("all ranks in MPI_Init", kInitLimit, Watchdog::end_here);
  mpi_check(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE)
    fail(ExitCode::configuration, "this MPI library has no MPI_THREAD_MULTIPLE (level {} of {}); use one built with it",
         provided, MPI_THREAD_MULTIPLE);
  mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

MpiSession::~MpiSession() {
  if (!mpi_is_up() || std::uncaught_exceptions() > 0) return;
  const BoundedCall finalize("all ranks in MPI_Finalize", kFinalizeLimit, Watchdog::end_here);
  MPI_Finalize();
}

int MpiSession::ranks() {
  int ranks = 1;
  if (mpi_is_up()) MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  return ranks;
}

void MpiSession::abort(int exit_code, const std::string&) {
  if (ranks() > 1) {                    // alone nobody else must be told
    static const int code = exit_code;  // the launcher ends the others with the code of the rank that ends first
    signal(SIGALRM, [](int) { std::_Exit(code); });
    alarm(kAbortLimit);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  std::_Exit(exit_code);
}

}  // namespace trireme
