#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <mpi.h>

// A test program whose code under test needs MPI to be running; alone, as one rank.
int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
  int result = doctest::Context(argc, argv).run();
  MPI_Finalize();
  return result;
}
