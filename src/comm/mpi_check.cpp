#include "comm/mpi_check.h"

#include <mpi.h>

#include <limits>

#include "base/error.h"

namespace trireme {

void mpi_check(int code, const char* call, std::source_location where) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(ExitCode::rank_lost, "{} failed ({}:{}): {}; a rank or a link was lost", call, where.file_name(), where.line(),
       text);
}

int checked_int(size_t count, const char* what) {
  if (count > static_cast<size_t>(std::numeric_limits<int>::max()))
    fail(ExitCode::internal, "{} of {} bytes: MPI moves at most 2147483647 at once", what, count);
  return static_cast<int>(count);
}

}  // namespace trireme
