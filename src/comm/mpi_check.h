#pragma once

#include <cstddef>
#include <source_location>

namespace trireme {

// Throws Error(rank_lost) with MPI's own words unless `code` is MPI_SUCCESS.
void mpi_check(int code, const char* call, std::source_location where = std::source_location::current());

// A count as MPI wants it. Throws Error(internal) for more than 2^31 - 1: nothing of ours sends so much at once.
int checked_int(size_t count, const char* what);

}  // namespace trireme
