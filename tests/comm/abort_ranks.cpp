// An abort of the MPI library that hangs, as Open MPI's has been seen to: the job ends with the documented code all the
// same.
//
//     mpirun -n RANKS abort_ranks; test $? = 69
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/error.h"
#include "comm/communicator.h"

using namespace trireme;

extern "C" int MPI_Abort(MPI_Comm, int) {
  for (;;) pause();
}

int main(int argc, char** argv) {
  MpiSession mpi(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 1) MpiSession::abort(static_cast<int>(ExitCode::rank_lost));
  std::this_thread::sleep_for(std::chrono::seconds(40));
}
