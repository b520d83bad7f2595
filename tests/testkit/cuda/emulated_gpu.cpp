#include "testkit/cuda/emulated_gpu.h"

#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/must.h"
#include "testkit/cuda/cuda_emulation.h"
#include "testkit/cuda/emulated_memory.h"
#include "testkit/cuda/emulated_settings.h"

namespace trireme::testkit {

namespace {

constexpr int kRuntimeVersion = 13000;
constexpr size_t kQueueEntries = 1000;  // of a stream, as measured on real ones

GpuMemory memory;
cudaError_t last_error = cudaSuccess;

struct Item {
  std::function<bool()> run;  // says whether it is done
  bool is_kernel = false;
  std::function<bool()> begin;  // of a kernel that may begin while the one before it is at work
};
using Work = std::deque<Item>;

// As far as it gets; whether it is done. Kernels that follow each other begin as early as they may.
bool run_item(const Work& work, size_t at) {
  for (size_t next = at + 1; next < work.size() && work[next - 1].is_kernel && work[next].begin; next++)
    if (!work[next].begin()) break;
  return work[at].run();
}

struct Stream {
  Work work;
  std::optional<Work> captured;  // while a graph is recorded
  bool running = false;          // streams may wait for each other in turn
  bool after_kernel = false;     // whether a kernel was enqueued last

  // For a moment: who asks a real GPU how far it is does not wait for it.
  void run() {
    if (std::exchange(running, true)) return;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
    try {
      while (!work.empty() && std::chrono::steady_clock::now() < end && run_item(work, 0)) work.pop_front();
    } catch (const cuda::StillWaiting&) {  // a kernel, which begins anew
    }
    running = false;
  }
};
std::vector<Stream*> streams;

void run(Stream& stream) {
  memory.let(true);
  stream.run();
  memory.let(false);
}

// The call that TRIREME_EMULATED_GPU_BLOCKS_IN names never returns.
void block_in(const char* call) {
  const char* named = std::getenv("TRIREME_EMULATED_GPU_BLOCKS_IN");
  while (named && std::strcmp(named, call) == 0) pause();
}

// What it marks is counted: an event that is recorded again has a later point.
struct Event {
  Stream* stream = nullptr;  // of the last record
  uint64_t recorded = 0, passed = 0;
};

// Memory is given back when nothing uses it any more, as the runtime has it.
void run_all() {
  for (Stream* stream : streams)
    for (; !stream->work.empty(); sched_yield()) run(*stream);
}

std::function<void()> first_check;  // of the next kernel
int early_so_far = 0;

void enqueue_item(void* stream, Item item) {
  auto* s = static_cast<Stream*>(stream);
  must(s->captured || s->work.size() < kQueueEntries, "a launch finds room in the queue, or it would block for good");
  must(!item.begin || s->after_kernel, "kernels begin early behind kernels only");
  s->after_kernel = item.is_kernel;
  (s->captured ? *s->captured : s->work).push_back(std::move(item));
}

// Another process opens GPU memory by the file behind it.
struct Shared {
  int process, file;
  size_t bytes;
};
static_assert(sizeof(Shared) <= sizeof(cudaIpcMemHandle_t));

}  // namespace

bool gpu_reaches(const void* data, size_t bytes) {
  return bytes == 0 || GpuMemory::covers(memory.own, data, bytes) || GpuMemory::covers(memory.locked, data, bytes);
}

void enqueue(void* stream, std::function<void()> work) {
  enqueue_waiting(stream, [work = std::move(work)] { return work(), true; });
}

void enqueue_kernel(void* stream, std::function<bool()> begin, std::function<void()> work) {
  auto checked = [check = std::exchange(first_check, nullptr), work = std::move(work)] {
    if (check) check();
    return work(), true;
  };
  early_so_far += begin != nullptr;
  enqueue_item(stream, {std::move(checked), true, std::move(begin)});
}
int early_kernels() { return early_so_far; }
void before_next_kernel(std::function<void()> check) { first_check = std::move(check); }

void enqueue_waiting(void* stream, std::function<bool()> work) { enqueue_item(stream, {std::move(work)}); }

bool is_recording() {
  for (const Stream* stream : streams)
    if (stream->captured) return true;
  return false;
}

}  // namespace trireme::testkit

using namespace trireme::testkit;

// For a library that comes later and enqueues on streams, as NCCL does (tests/testkit/nccl).
extern "C" {
void emulated_gpu_enqueue(void* stream, bool (*work)(void*), void* context) {
  enqueue_waiting(stream, [=] { return work(context); });
}
bool emulated_gpu_reaches(const void* data, size_t bytes) { return gpu_reaches(data, bytes); }
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = setting("TRIREME_EMULATED_GPU_DRIVER", kRuntimeVersion);
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kRuntimeVersion;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  int driver = *count = 0;
  cudaDriverGetVersion(&driver);
  if (driver < kRuntimeVersion) return cudaErrorInsufficientDriver;
  *count = static_cast<int>(visible_devices().size());
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Visible seen = visible_devices().at(static_cast<size_t>(device));
  *properties = {};
  std::strcpy(properties->name, "emulated");
  int sm = setting("TRIREME_EMULATED_GPU_SM", 80);
  if (device == 1) sm = setting("TRIREME_EMULATED_GPU_1_SM", sm);
  properties->major = sm / 10, properties->minor = sm % 10;
  const unsigned first = 0xabc00000 | seen.instance << 16 | seen.chip;  // as tests/testkit/nvml counts them
  for (int i = 0; i < 4; i++) properties->uuid.bytes[i] = static_cast<char>(first >> (24 - 8 * i));
  properties->pciBusID = 0x1a + static_cast<int>(seen.chip);
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
  return setting("TRIREME_EMULATED_GPU_TAKEN", 0) ? last_error = cudaErrorDevicesUnavailable : cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = memory.total - memory.used, *total = memory.total;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  block_in("cudaMalloc");
  if (bytes > memory.total - memory.used) return cudaErrorMemoryAllocation;
  const int file = memfd_create("emulated GPU", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(whole_pages(bytes))) != 0) return cudaErrorMemoryAllocation;
  if (!(*data = map(bytes, PROT_NONE, file))) return cudaErrorMemoryAllocation;
  memory.add(*data, bytes);
  memory.files[static_cast<std::byte*>(*data)] = file;
  memory.used += bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  block_in("cudaFree");
  run_all();
  auto found = memory.own.find(static_cast<std::byte*>(data));
  if (found == memory.own.end()) return cudaErrorInvalidValue;
  munmap(data, whole_pages(found->second));
  close(memory.files.extract(found->first).mapped());
  memory.used -= found->second;
  memory.own.erase(found);
  return cudaSuccess;
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* data) {
  auto found = memory.own.find(static_cast<std::byte*>(data));
  if (found == memory.own.end()) return cudaErrorInvalidValue;
  const Shared shared{getpid(), memory.files.at(found->first), found->second};
  std::memcpy(handle, &shared, sizeof shared);
  return cudaSuccess;
}
cudaError_t cudaIpcOpenMemHandle(void** data, cudaIpcMemHandle_t handle, unsigned) {
  block_in("cudaIpcOpenMemHandle");
  Shared shared;
  std::memcpy(&shared, &handle, sizeof shared);
  if (setting("TRIREME_EMULATED_GPU_ALONE", 0)) return last_error = cudaErrorPeerAccessUnsupported;
  const int elsewhere = setting("TRIREME_EMULATED_GPU_OPENS_ELSEWHERE", 0);
  const std::string path = "/proc/" + std::to_string(shared.process) + "/fd/" + std::to_string(shared.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0 || !(*data = map(shared.bytes, PROT_NONE, elsewhere == 1 ? -1 : file, elsewhere == 2)))
    return cudaErrorInvalidValue;
  close(file);
  memory.add(*data, shared.bytes);
  return cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void* data) {
  run_all();
  auto found = memory.own.find(static_cast<std::byte*>(data));
  if (found == memory.own.end()) return cudaErrorInvalidValue;
  munmap(data, whole_pages(found->second));
  memory.own.erase(found);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  block_in("cudaHostAlloc");
  if (!(*data = map(bytes, PROT_READ | PROT_WRITE))) return cudaErrorMemoryAllocation;
  memory.locked[static_cast<std::byte*>(*data)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  run_all();
  auto found = memory.locked.find(static_cast<std::byte*>(data));
  if (found == memory.locked.end()) return cudaErrorInvalidValue;
  munmap(data, whole_pages(found->second));
  memory.locked.erase(found);
  return cudaSuccess;
}
cudaError_t cudaHostRegister(void* data, size_t bytes, unsigned) {
  block_in("cudaHostRegister");
  if (setting("TRIREME_EMULATED_GPU_NO_LOCKING", 0)) return last_error = cudaErrorMemoryAllocation;
  return memory.locked.emplace(static_cast<std::byte*>(data), bytes).second ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaHostUnregister(void* data) {
  run_all();
  return memory.locked.erase(static_cast<std::byte*>(data)) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaHostGetDevicePointer(void** seen, void* data, unsigned) {
  *seen = data;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = streams.emplace_back(new Stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::erase(streams, stream);
  delete static_cast<Stream*>(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  block_in("cudaStreamQuery");
  auto& work = static_cast<Stream*>(stream)->work;
  if (static_cast<Stream*>(stream)->captured) return last_error = cudaErrorStreamCaptureUnsupported;
  if (setting("TRIREME_EMULATED_GPU_HANGS", 0)) return cudaErrorNotReady;
  if (work.empty()) return cudaSuccess;
  run(*static_cast<Stream*>(stream));     // as far as it gets
  return last_error = cudaErrorNotReady;  // the next to ask hears that all is done
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  run_all();
  delete static_cast<Event*>(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  auto* e = static_cast<Event*>(event);
  e->stream = static_cast<Stream*>(stream);
  enqueue(stream, [e, point = ++e->recorded] { e->passed = point; });
  return cudaSuccess;
}
// Only the streams that somebody waits for get on: a wait that was left out shows.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  auto* e = static_cast<Event*>(event);
  enqueue_waiting(stream, [e, on = e->stream, point = e->recorded] {
    if (e->passed < point && on) on->run();
    return e->passed >= point;
  });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  auto* e = static_cast<Event*>(event);
  if (e->passed == e->recorded) return cudaSuccess;
  if (!setting("TRIREME_EMULATED_GPU_HANGS", 0)) run(*e->stream);
  return last_error = cudaErrorNotReady;
}

// A graph holds what was enqueued, with the arguments of then.
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  auto& captured = static_cast<Stream*>(stream)->captured;
  if (captured) return cudaErrorIllegalState;
  captured.emplace();
  static_cast<Stream*>(stream)->after_kernel = false;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  auto& captured = static_cast<Stream*>(stream)->captured;
  if (!captured) return cudaErrorIllegalState;
  auto recorded = std::make_unique<Work>(std::move(*captured));
  captured.reset();
  static_cast<Stream*>(stream)->after_kernel = false;
  *graph = nullptr;
  if (setting("TRIREME_EMULATED_GPU_NO_GRAPHS", 0) == 3) return last_error = cudaErrorStreamCaptureInvalidated;
  *graph = recorded.release();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  block_in("cudaGraphInstantiate");
  if (setting("TRIREME_EMULATED_GPU_NO_GRAPHS", 0) == 1) return last_error = cudaErrorMemoryAllocation;
  *exec = new Work(*static_cast<Work*>(graph));
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  if (setting("TRIREME_EMULATED_GPU_NO_GRAPHS", 0) == 2) return last_error = cudaErrorMemoryAllocation;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  block_in("cudaGraphLaunch");
  enqueue_waiting(stream, [exec, next = size_t{0}]() mutable {
    const Work& works = *static_cast<Work*>(exec);
    while (next < works.size() && run_item(works, next)) next++;
    return next == works.size();
  });
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete static_cast<Work*>(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  if (!gpu_reaches(data, bytes)) return cudaErrorInvalidValue;
  enqueue(stream, [=] { fill(data, value, bytes); });
  return cudaSuccess;
}
// From pageable memory bytes are read at once; into it nothing of ours is copied.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  block_in("cudaMemcpyAsync");
  if (!gpu_reaches(to, bytes)) return cudaErrorInvalidValue;
  if (gpu_reaches(from, bytes)) {
    enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  } else {
    auto* first = static_cast<const std::byte*>(from);
    enqueue(stream, [to, staged = std::vector<std::byte>(first, first + bytes)] {
      std::memcpy(to, staged.data(), staged.size());
    });
  }
  return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                              size_t count, cudaMemcpyKind, cudaStream_t stream) {
  if (bytes > to_stride || bytes > from_stride) return cudaErrorInvalidValue;
  if (!gpu_reaches(to, (count - 1) * to_stride + bytes) || !gpu_reaches(from, (count - 1) * from_stride + bytes))
    return cudaErrorInvalidValue;
  enqueue(stream, [=] {
    for (size_t i = 0; i < count; i++)
      std::memcpy(static_cast<std::byte*>(to) + i * to_stride, static_cast<const std::byte*>(from) + i * from_stride,
                  bytes);
  });
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  if (setting("TRIREME_EMULATED_GPU_NO_GRAPHS", 0) == 4 && is_recording()) return cudaErrorInvalidValue;
  return std::exchange(last_error, cudaSuccess);
}
const char* cudaGetErrorString(cudaError_t error) {
  static thread_local std::string text;
  text = "emulated error " + std::to_string(static_cast<int>(error));
  return text.c_str();
}
