#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/wait.h"

namespace trireme {

// MPI's start and end. Exactly one per process, in main; asks for MPI_THREAD_MULTIPLE and sets MPI_ERRORS_RETURN.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();  // MPI_Finalize, unless abort() was called or an exception is in flight
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  static int ranks();  // of the world; 1 where MPI is not up
  // Ends all ranks; flushes nothing. said: for nobody here, as Watchdog::End has it.
  [[noreturn]] static void abort(int exit_code, const std::string& said = "");
};

// The control plane: one MPI communicator, every call non-blocking below and bounded by the Waiter's deadline above.
// Owns its handle (a duplicate or a split); moves only. All calls are collective except send and receive.
class Communicator {
 public:
  static Communicator world(Waiter& waiter);
  static Communicator self(Waiter& waiter);  // this rank alone
  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;
  ~Communicator();

  int rank() const;
  int size() const;
  Waiter& waiter() const;
  void* handle() const;  // the MPI_Comm, for libraries that take one (HDF5)

  Communicator split(int color, int key) const;

  void barrier() const;
  void broadcast(std::vector<std::byte>& data, int root) const;                           // resized on the others
  std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> mine) const;  // [size], lengths may differ
  int64_t all_min(int64_t mine) const;
  int64_t all_max(int64_t mine) const;
  int64_t all_sum(int64_t mine) const;
  void all_or(std::span<uint64_t> words) const;  // bitwise or, in place on every rank
  // Ranks fail together: every rank passes its fault ("" = none); if any has one, all throw Error(code of the lowest
  // failing rank) with that rank's text. Call it before a collective that a fault on one rank would leave others in.
  void agree(const std::string& fault, int exit_code) const;
  // What agree() would throw; text "": nothing. Only a fault of its own, as a rank that does not come, is thrown.
  struct FirstFault {
    int exit_code = 0;
    std::string text;
  };
  FirstFault first_fault(const std::string& fault, int exit_code) const;

  // Messages. A send returns at once and keeps its own copy until it is gone; pending sends make progress inside every
  // wait. tag: 0 ... 32767.
  void send(int to, int tag, std::span<const std::byte> data);
  struct Message {
    int from = 0;
    std::vector<std::byte> data;
  };
  std::optional<Message> try_receive(int tag);                          // from anyone
  std::vector<std::byte> receive(int from, int tag, const char* what);  // waits, with the deadline
  void flush();                                                         // until all sends are gone

 private:
  struct State;
  enum class Source { world, self };
  static Communicator duplicate(Source source, Waiter& waiter);
  explicit Communicator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trireme
