#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/nvidia_library.h"

namespace trireme {

// NVIDIA's library for motion between GPUs, opened when a run asks for it and left open. No header of it is used:
// names, numbers and layouts are those of nccl.h, the same from 2.18 to 2.29. One per process.
class Nccl {
 public:
  // Older ones have none of what follows or hang in it: calls that do not block came with 2.14, and 2.18.1 mended
  // sends and receives in irregular patterns (NVIDIA's release notes).
  static constexpr int kOldestVersion = 21801;

  using Comm = struct NcclComm*;
  struct Id {
    char bytes[128];
  };
  // As programs of 2.14 have it, which every later library takes: what it does not name keeps its default.
  struct Config {
    size_t size = sizeof(Config);
    unsigned magic = 0xcafebeef, version = 21400;
    int blocking = 0;
    int padding = 0;
  };
  static constexpr int kSuccess = 0, kInProgress = 7;
  static constexpr int kBytes = 1, kFloats = 7;  // ncclUint8, ncclFloat32
  static constexpr int kSum = 0;

  // files: for dlopen, the first that serves is taken. A library that is not there, too old or incomplete is no fault.
  explicit Nccl(std::span<const std::string> files);
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  const std::string& missing() const { return missing_; }  // "": it can be used; else why not, in one line
  const std::string& version() const { return version_; }  // "2.28.9"; "" where none serves
  const std::string& path() const { return path_; }        // of the file that serves

  // Lets the library write what it chooses into memory of ours: where the user does not want its log elsewhere
  // (NCCL_DEBUG, NCCL_DEBUG_FILE), and before its first call.
  void keep_log();
  // Bytes of that log so far; and the transports that stand in it from there on ("P2P/IPC", "NET/Socket"), sorted and
  // joined by "+". "": nothing is known.
  size_t log_bytes() const;
  std::string transports_since(size_t log_bytes) const;

  int (*get_unique_id)(Id*) = nullptr;
  int (*init_rank)(Comm*, int ranks, Id, int rank, Config*) = nullptr;
  int (*finalize)(Comm) = nullptr;
  int (*destroy)(Comm) = nullptr;
  int (*abort)(Comm) = nullptr;
  int (*async_error)(Comm, int* state) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*send)(const void*, size_t count, int type, int peer, Comm, void* stream) = nullptr;
  int (*receive)(void*, size_t count, int type, int peer, Comm, void* stream) = nullptr;
  int (*all_reduce)(const void* from, void* to, size_t count, int type, int op, Comm, void* stream) = nullptr;

  std::string error_text(int code, Comm comm) const;  // its words, and those for the last fault it noticed

 private:
  std::string take_functions(const NvidiaLibrary& library);

  const char* (*error_string_)(int) = nullptr;
  const char* (*last_error_)(Comm) = nullptr;
  std::string missing_, version_, path_;
  int log_ = -1;  // a file in memory
};

// What a log of NCCL's says of transports, as transports_since() has it.
std::string nccl_transports(const std::string& log);

}  // namespace trireme
