// An NCCL for GPUs that are not there (tests/testkit/cuda), built as libnccl.so.2 in a folder of its own. It moves real
// bytes between processes: a shared file for each group, named by its id, has a mailbox for each pair. As in the real
// one, nothing happens before the streams that it enqueues on get there, a send ends when its receiver has all, groups
// form while their state is asked for, and memory that the GPU does not reach is refused. Words of TRIREME_TEST_NCCL
// say what is wrong, of all ranks or of one (@R):
//   version=N     its version code           via=WAY       the transport that its log tells
//   init-error    it does not start          init-hang     a group is never formed
//   init-block    the call that forms a group never returns
//   init-oom      its GPU has no room for it
//   error=N       the N-th group of calls fails            hang=N, die=N   from then on it does nothing, or is gone
//   late-error=N  the N-th does nothing, and some time later the state says that a link is down
//   abort-hang    an abort never returns
// Compiled with TRIREME_WITHOUT_FINALIZE it lacks a function.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int kSuccess = 0, kCudaError = 1, kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5, kRemoteError = 6,
              kInProgress = 7;
constexpr size_t kBox = size_t{1} << 16;  // bytes of a mailbox: larger messages go in parts
constexpr int kMostRanks = 16;

// The word's number, or -1 where it does not stand there for this rank.
int word(const char* name, std::string* text = nullptr) {
  const char* words = std::getenv("TRIREME_TEST_NCCL");
  const char* me = std::getenv("OMPI_COMM_WORLD_RANK");
  std::istringstream stream(words ? words : "");
  for (std::string w; stream >> w;) {
    const size_t at = w.find('@');
    if (at != w.npos && w.substr(at + 1) != (me ? me : "0")) continue;
    w.resize(std::min(at, w.size()));
    const size_t value = w.find('=');
    if (w.substr(0, value) != name) continue;
    if (text && value != w.npos) *text = w.substr(value + 1);
    return value == w.npos ? 1 : std::atoi(w.c_str() + value + 1);
  }
  return -1;
}

struct Mailbox {
  std::atomic<uint64_t> filled, taken;  // parts
  std::byte data[kBox];
};
struct Group {
  std::atomic<int> here;
  Mailbox boxes[kMostRanks][kMostRanks];  // [from][to]
};

struct Id {
  char bytes[128];
};

struct Comm {
  int rank, ranks;
  Id id;
  Group* group;
  int state = kInProgress;
  bool met = false;
  int asked_until_fault = 0;  // > 0: so often
};

// A move under way: parts of at most kBox bytes.
struct Move {
  Comm* comm;
  std::byte* data;
  size_t bytes, done;
  int peer;
  bool send, waits_to_be_taken;

  // Gets on as far as it goes; true at the end.
  bool get_on() {
    Mailbox& box = send ? comm->group->boxes[comm->rank][peer] : comm->group->boxes[peer][comm->rank];
    while (done < bytes || waits_to_be_taken) {
      const bool empty = box.filled == box.taken;
      if (send != empty) return false;
      if (waits_to_be_taken && done == bytes) return true;
      const size_t part = std::min(kBox, bytes - done);
      if (send) {
        std::memcpy(box.data, data + done, part);
        box.filled++;
        waits_to_be_taken = true;
      } else {
        std::memcpy(data + done, box.data, part);
        box.taken++;
      }
      done += part;
    }
    return true;
  }
};

struct Batch {
  std::vector<Move> moves;
  bool hangs = false;
};

struct Sum {
  Comm* comm;
  float* data;
  std::vector<float> mine, theirs;
  std::vector<Move> moves;
  bool hangs = false;
};

bool get_on(void* context) {
  auto* batch = static_cast<Batch*>(context);
  if (batch->hangs) return false;
  bool busy[kMostRanks][2] = {};  // moves between two ranks keep their order
  std::erase_if(batch->moves, [&](Move& move) {
    bool& before = busy[move.peer][move.send];
    before = before || !move.get_on();
    return !before;
  });
  if (!batch->moves.empty()) return false;
  delete batch;
  return true;
}

bool add_up(void* context) {
  auto* sum = static_cast<Sum*>(context);
  const size_t count = sum->mine.size();
  if (sum->hangs) return false;
  if (sum->moves.empty() && count > 0) {
    std::memcpy(sum->mine.data(), sum->data, count * sizeof(float));
    for (int r = 0; r < sum->comm->ranks; r++) {
      if (r == sum->comm->rank) continue;
      auto* out = reinterpret_cast<std::byte*>(sum->mine.data());
      auto* in = reinterpret_cast<std::byte*>(sum->theirs.data() + static_cast<size_t>(r) * count);
      sum->moves.push_back({sum->comm, out, count * sizeof(float), 0, r, true, false});
      sum->moves.push_back({sum->comm, in, count * sizeof(float), 0, r, false, false});
    }
  }
  bool all = true;
  for (Move& move : sum->moves)
    all = (move.done == move.bytes && !move.waits_to_be_taken) || move.get_on() ? all : false;
  if (!all) return false;
  std::memcpy(sum->theirs.data() + static_cast<size_t>(sum->comm->rank) * count, sum->mine.data(),
              count * sizeof(float));
  for (size_t i = 0; i < count; i++) {
    float total = 0;
    for (int r = 0; r < sum->comm->ranks; r++) total += sum->theirs[static_cast<size_t>(r) * count + i];
    sum->data[i] = total;
  }
  delete sum;
  return true;
}

void enqueue(void* stream, bool (*work)(void*), void* context) {
  using Function = void (*)(void*, bool (*)(void*), void*);
  reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "emulated_gpu_enqueue"))(stream, work, context);
}
bool gpu_reaches(const void* data, size_t bytes) {
  return reinterpret_cast<bool (*)(const void*, size_t)>(dlsym(RTLD_DEFAULT, "emulated_gpu_reaches"))(data, bytes);
}

std::string file_of(const Id& id) { return std::string("/dev/shm/") + id.bytes; }

void log(const std::string& line) {
  const char *level = std::getenv("NCCL_DEBUG"), *name = std::getenv("NCCL_DEBUG_FILE");
  if (!level || std::strcmp(level, "INFO") != 0 || !name) return;
  static std::FILE* file = std::fopen(name, "w");
  if (file) std::fprintf(file, "%s\n", line.c_str()), std::fflush(file);
}

int depth = 0;    // of group_start
int batches = 0;  // of the process
Batch* open_batch = nullptr;
Sum* open_sum = nullptr;
void* open_stream = nullptr;
std::string last_error;

int refuse(const std::string& why) {
  last_error = why;
  return kInvalidArgument;
}

int add(Comm* comm, void* data, size_t bytes, int type, int peer, void* stream, bool send) {
  if (depth == 0 || type != 1) return refuse("only bytes, and in groups");
  if (comm->state != kSuccess) return refuse("the communicator is not ready");
  if (peer < 0 || peer >= comm->ranks || peer == comm->rank) return refuse("no such peer");
  if (!gpu_reaches(data, bytes)) return refuse("memory that the GPU does not reach");
  if (!open_batch) open_batch = new Batch;
  open_stream = stream;
  open_batch->moves.push_back({comm, static_cast<std::byte*>(data), bytes, 0, peer, send, false});
  return kSuccess;
}

// Faults that come in the course of a run, of a group of calls on one communicator.
int fault_of(Comm* comm, bool& hangs) {
  constexpr int kAskedUntilFault = 100;
  const int number = ++batches;
  if (word("die") == number) raise(SIGKILL);
  if (const int from = word("hang"); from > 0 && number >= from) hangs = true;
  if (word("late-error") == number) hangs = true, comm->asked_until_fault = kAskedUntilFault;
  if (word("error") != number) return kSuccess;
  last_error = "a link went down";
  comm->state = kRemoteError;
  return kRemoteError;
}

}  // namespace

extern "C" {

int ncclGetVersion(int* version) {
  const int told = word("version");
  return *version = told > 0 ? told : 22809, kSuccess;
}
int ncclGetUniqueId(Id* id) {
  uint64_t random = 0;
  if (getentropy(&random, sizeof random) != 0) return kSystemError;
  std::snprintf(id->bytes, sizeof id->bytes, "trireme-fake-nccl-%016llx", static_cast<unsigned long long>(random));
  return kSuccess;
}
int ncclCommInitRankConfig(Comm** comm, int ranks, Id id, int rank, const void* config) {
  struct {
    size_t size;
    unsigned magic, version;
    int blocking;
  } seen;
  std::memcpy(&seen, config, sizeof seen);
  if (seen.size < 20 || seen.magic != 0xcafebeef || seen.blocking != 0) return refuse("a config that is none");
  if (ranks > kMostRanks) return refuse("too many ranks");
  while (word("init-block") > 0) pause();
  if (word("init-error") > 0) return last_error = "no network interface was found", kSystemError;
  if (word("init-oom") > 0) return last_error = "Cuda failure 2 'out of memory'", kCudaError;
  const int file = open(file_of(id).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof(Group)) != 0) return kSystemError;
  void* memory = mmap(nullptr, sizeof(Group), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return kSystemError;
  *comm = new Comm{rank, ranks, id, static_cast<Group*>(memory)};
  if (word("init-hang") < 0) (*comm)->group->here++;
  return kInProgress;
}
int ncclCommGetAsyncError(Comm* comm, int* state) {
  if (!comm) return refuse("no communicator");
  if (!comm->met && comm->group->here >= comm->ranks) {
    comm->met = true;
    comm->state = kSuccess;
    unlink(file_of(comm->id).c_str());
    std::string via = "P2P/IPC";
    word("via", &via);
    for (int r = 0; r < comm->ranks; r++)
      if (r != comm->rank)
        log("host:1:2 [0] NCCL INFO Channel 00/0 : " + std::to_string(comm->rank) + "[0] -> " + std::to_string(r) +
            "[1] via " + via);
  }
  if (comm->asked_until_fault > 0 && --comm->asked_until_fault == 0) {
    last_error = "a link went down";
    comm->state = kRemoteError;
  }
  return *state = comm->state, kSuccess;
}
#ifndef TRIREME_WITHOUT_FINALIZE
int ncclCommFinalize(Comm* comm) { return comm->met ? kSuccess : kInvalidUsage; }
#endif
int ncclCommDestroy(Comm* comm) {
  munmap(comm->group, sizeof(Group));
  delete comm;
  return kSuccess;
}
int ncclCommAbort(Comm* comm) {
  while (word("abort-hang") > 0) pause();
  unlink(file_of(comm->id).c_str());  // moves may still be under way: the rest goes with the process
  return kSuccess;
}
int ncclGroupStart() { return depth++, kSuccess; }
int ncclGroupEnd() {
  if (--depth > 0 || (!open_batch && !open_sum)) return kSuccess;
  Batch* batch = std::exchange(open_batch, nullptr);
  Sum* sum = std::exchange(open_sum, nullptr);
  if (batch && sum) return refuse("sums and moves in one group");
  const int code = batch ? fault_of(batch->moves.front().comm, batch->hangs) : fault_of(sum->comm, sum->hangs);
  if (code == kSuccess && batch) enqueue(open_stream, get_on, batch);
  if (code == kSuccess && sum) enqueue(open_stream, add_up, sum);
  return code == kSuccess ? kSuccess : kInProgress;  // the state has the fault
}
int ncclSend(const void* data, size_t count, int type, int peer, Comm* comm, void* stream) {
  return add(comm, const_cast<void*>(data), count, type, peer, stream, true);
}
int ncclRecv(void* data, size_t count, int type, int peer, Comm* comm, void* stream) {
  return add(comm, data, count, type, peer, stream, false);
}
int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, Comm* comm, void* stream) {
  if (depth == 0 || open_sum || from != to || type != 7 || op != 0)
    return refuse("only sums of floats, in place, one a group");
  if (comm->state != kSuccess) return refuse("the communicator is not ready");
  if (!gpu_reaches(to, count * sizeof(float))) return refuse("memory that the GPU does not reach");
  open_sum = new Sum{comm, static_cast<float*>(to), std::vector<float>(count), {}, {}};
  open_sum->theirs.resize(count * static_cast<size_t>(comm->ranks));
  open_stream = stream;
  return kSuccess;
}
const char* ncclGetErrorString(int code) {
  return code == kRemoteError ? "remote process exited or there was a network error" : "unhandled system error";
}
const char* ncclGetLastError(Comm*) { return last_error.c_str(); }

}  // extern "C"
