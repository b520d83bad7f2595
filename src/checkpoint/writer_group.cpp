#include "checkpoint/writer_group.h"

#include <mpi.h>

#include <cstdlib>
#include <limits>
#include <source_location>
#include <utility>

#include "base/error.h"

namespace trireme {

namespace {

MPI_Comm communicator(void* comm) { return static_cast<MPI_Comm>(comm); }

void mpi_check(int result, std::source_location where = std::source_location::current()) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(result, text, &length);
  fail(ExitCode::rank_lost, "MPI failed while writing a checkpoint: {} ({}:{})", text, where.file_name(), where.line());
}

}  // namespace

WriterGroup::WriterGroup(void* comm) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  must(initialized != 0, "MPI is initialized before a checkpoint is written");
  MPI_Comm copy = MPI_COMM_NULL;
  mpi_check(MPI_Comm_dup(communicator(comm), &copy));
  comm_ = copy;
  mpi_check(MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN));
  mpi_check(MPI_Comm_rank(copy, &rank_));
  mpi_check(MPI_Comm_size(copy, &size_));
}

WriterGroup WriterGroup::world() { return WriterGroup(MPI_COMM_WORLD); }
WriterGroup WriterGroup::self() { return WriterGroup(MPI_COMM_SELF); }

WriterGroup::WriterGroup(WriterGroup&& other) noexcept
    : comm_(std::exchange(other.comm_, nullptr)), rank_(other.rank_), size_(other.size_) {}

WriterGroup::~WriterGroup() {
  if (!comm_) return;
  MPI_Comm comm = communicator(comm_);
  MPI_Comm_free(&comm);
}

void WriterGroup::agree(const std::function<void()>& work) const {
  std::string text;
  int code = 0;
  try {
    work();
  } catch (const Error& e) {
    text = e.what(), code = static_cast<int>(e.code());
  } catch (const std::bad_alloc&) {
    text = "out of memory while converting; use more ranks or free memory",
    code = static_cast<int>(ExitCode::out_of_memory);
  } catch (const std::exception& e) {
    text = e.what(), code = static_cast<int>(ExitCode::internal);
  }
  int mine = code != 0 ? rank_ : std::numeric_limits<int>::max(), first = 0;
  mpi_check(MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, communicator(comm_)));
  if (first == std::numeric_limits<int>::max()) return;
  int head[2] = {code, static_cast<int>(text.size())};
  mpi_check(MPI_Bcast(head, 2, MPI_INT, first, communicator(comm_)));
  text.resize(static_cast<size_t>(head[1]));
  mpi_check(MPI_Bcast(text.data(), head[1], MPI_CHAR, first, communicator(comm_)));
  throw Error(static_cast<ExitCode>(head[0]), text);
}

int64_t WriterGroup::broadcast(int64_t value) const {
  mpi_check(MPI_Bcast(&value, 1, MPI_INT64_T, 0, communicator(comm_)));
  return value;
}

int64_t WriterGroup::sum(int64_t mine) const {
  int64_t all = 0;
  mpi_check(MPI_Allreduce(&mine, &all, 1, MPI_INT64_T, MPI_SUM, communicator(comm_)));
  return all;
}

void WriterGroup::combine(std::span<uint64_t> words) const {
  mpi_check(MPI_Allreduce(MPI_IN_PLACE, words.data(), static_cast<int>(words.size()), MPI_UINT64_T, MPI_BOR,
                          communicator(comm_)));
}

void WriterGroup::prefer_romio() { setenv("OMPI_MCA_io", "romio321", 0); }

}  // namespace trireme
