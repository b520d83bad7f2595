#include <cuda_runtime_api.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/held_memory.h"
#include "device/cuda.h"
#include "device/library_products.h"
#include "kernels/cuda/cuda_kernels.h"

namespace trireme {

namespace {

static_assert(CudaDevice::kMostUnits == kMostTreeUnits && CudaDevice::kMostRoots == kMostNodes);
static_assert(Device::kMostMeet == kMostRanksMeet);
constexpr int kOldestArchitecture = 8;  // sm_80: the oldest that kernels/cuda is compiled for
constexpr size_t kMostGraphs = 64;      // that repeat() keeps: each takes memory of host and GPU
constexpr int kSpins = 2000;            // queries of the stream before a waiting host gives way
// Entries of a stream's queue that the host fills before it waits for the GPU. Past about 1000 a launch blocks inside
// the driver, which has no deadline; NVIDIA documents no number (measured: forums.developer.nvidia.com, topic 68937,
// "more than 1000"). A half of that costs nothing: a kernel takes longer than the one gap of a launch in 500.
constexpr int kMostQueued = 500;

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// These wait for the GPU, which may be why the job is failing: its memory is left to the process's end.
bool failing() { return std::uncaught_exceptions() > 0; }
void release_device(std::byte* data, size_t bytes) noexcept {
  hold_device(-static_cast<int64_t>(bytes));
  if (!failing()) cudaFree(data);
}
void release_pinned(std::byte* data, size_t bytes) noexcept {
  hold_pinned(-static_cast<int64_t>(bytes));
  if (!failing()) cudaFreeHost(data);
}
void release_opened(std::byte* data, size_t) noexcept {
  if (!failing()) cudaIpcCloseMemHandle(data);
}
void release_pin(std::byte* data, size_t) noexcept {
  if (!failing()) cudaHostUnregister(data);
}

std::string text_of(const cudaUUID_t& uuid) {
  std::string text;
  for (char byte : uuid.bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

// On a failing device the lane's stream may never end, and is left to the process's end.
class EventLane final : public Lane {
 public:
  EventLane(cudaStream_t device, std::string name, int marks)
      : device_(device), name_(std::move(name)), marks_(static_cast<size_t>(marks)) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a second stream");
    check(cudaEventCreateWithFlags(&followed_, cudaEventDisableTiming), "an event");
    for (cudaEvent_t& mark : marks_) check(cudaEventCreateWithFlags(&mark, cudaEventDisableTiming), "an event");
  }
  ~EventLane() override {
    if (failing()) return;
    for (cudaEvent_t mark : marks_) cudaEventDestroy(mark);
    cudaEventDestroy(followed_);
    cudaStreamDestroy(stream_);
  }

  void* stream() override { return stream_; }
  void follow() override {
    check(cudaEventRecord(followed_, device_), "an event");
    check(cudaStreamWaitEvent(stream_, followed_, 0), "one stream to follow another");
  }
  void mark(int i) override { check(cudaEventRecord(marks_.at(static_cast<size_t>(i)), stream_), "an event"); }
  void lead(int i) override {
    check(cudaStreamWaitEvent(device_, marks_.at(static_cast<size_t>(i)), 0), "one stream to follow another");
  }
  bool passed(int i) override {
    const cudaError_t state = cudaEventQuery(marks_.at(static_cast<size_t>(i)));
    if (state == cudaSuccess) return true;
    if (state != cudaErrorNotReady) check(state, "the messages of other ranks");
    cudaGetLastError();  // "not ready" is no error of the next launch
    return false;
  }

 private:
  void check(cudaError_t error, const char* what) const {
    if (error == cudaSuccess) return;
    cudaGetLastError();
    fail(ExitCode::internal, "{}, asked for {}: {}", name_, what, cudaGetErrorString(error));
  }

  cudaStream_t device_, stream_ = nullptr;
  std::string name_;
  cudaEvent_t followed_ = nullptr;
  std::vector<cudaEvent_t> marks_;
};

class OneStream final : public CudaDevice {
 public:
  OneStream(int gpu, std::chrono::milliseconds wait, bool graphs, BoundedCall::End end)
      : wait_(wait), end_(end), most_graphs_(graphs ? kMostGraphs : 0) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, gpu), "its properties");
    name_ = fmt::format("GPU {} ({}, sm_{}{})", gpu, properties.name, properties.major, properties.minor);
    std::copy_n(properties.uuid.bytes, device_.size(), device_.begin());
    uuid_ = text_of(properties.uuid);
    chip_ = fmt::format("{:08x}:{:02x}:{:02x}", properties.pciDomainID, properties.pciBusID, properties.pciDeviceID);
    if (properties.major < kOldestArchitecture)
      fail(ExitCode::configuration, "--device cuda: {} is older than sm_80; leave --device out to run on the CPU",
           name_);
    const cudaError_t opened = cudaSetDevice(gpu);
    if (opened == cudaErrorDevicesUnavailable)
      fail(ExitCode::configuration,
           "--device cuda: {} is taken by another process, and its mode lets in one only; give each rank a GPU of its "
           "own",
           name_);
    check(opened, "to be opened");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
    fill_cuda(kernels_, properties.major * 10 + properties.minor);
    level_ = fmt::format("cuda-sm_{}{}{}", properties.major, properties.minor, kernels_.e4m3_inputs ? "+fp8" : "");
    kernels_.level = level_;
  }
  ~OneStream() override {
    if (failing()) return;
    for (auto& [key, graph] : graphs_)
      if (graph) cudaGraphExecDestroy(graph);
    cudaStreamDestroy(stream_);
  }

  Buffer allocate(size_t bytes, const char* what) override {
    Buffer buffer = take(bytes, what);
    if (bytes == 0) return buffer;
    make_room();
    check(cudaMemsetAsync(buffer.data(), 0, bytes, stream_), what);
    return buffer;
  }

  Buffer allocate_pinned(size_t bytes, const char* what) override {
    if (bytes == 0) return {};
    const BoundedCall call = bounded(what);
    void* data = nullptr;
    const cudaError_t error = cudaHostAlloc(&data, bytes, cudaHostAllocMapped);
    if (error == cudaErrorMemoryAllocation) no_host_room(bytes, what);
    check(error, what);
    std::memset(data, 0, bytes);
    hold_pinned(static_cast<int64_t>(bytes));
    return {static_cast<std::byte*>(data), bytes, release_pinned};
  }

  // From pageable memory: the call comes back when the bytes are read.
  Buffer upload(Buffer host, const char* what) override {
    Buffer buffer = take(host.bytes(), what);
    make_room();
    check(cudaMemcpyAsync(buffer.data(), host.data(), host.bytes(), cudaMemcpyDefault, stream_), what);
    synchronize();
    return buffer;
  }

  Buffer pin(std::span<std::byte> memory, const char* what) override {
    if (memory.empty()) return {};
    const BoundedCall call = bounded(what);
    const cudaError_t error = cudaHostRegister(memory.data(), memory.size(), cudaHostRegisterMapped);
    if (error == cudaErrorMemoryAllocation) no_host_room(memory.size(), what);
    check(error, what);
    Buffer pinned(memory.data(), memory.size(), release_pin);
    void* seen = nullptr;
    check(cudaHostGetDevicePointer(&seen, memory.data(), 0), what);
    if (seen != memory.data())
      fail(ExitCode::configuration, "--device cuda: {} sees the host's memory elsewhere than the host does", name_);
    return pinned;
  }

  bool works_in_host_memory() const override { return false; }

  Handle share(const Buffer& memory) override {
    static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(Handle::bytes));
    Handle handle{{}, device_};
    cudaIpcMemHandle_t theirs;
    check(cudaIpcGetMemHandle(&theirs, memory.data()), "a handle of its memory");
    std::memcpy(handle.bytes, &theirs, sizeof theirs);
    return handle;
  }

  std::optional<Buffer> open(const Handle& handle, size_t bytes) override {
    const BoundedCall call = bounded("another's memory");
    void* data = nullptr;
    cudaIpcMemHandle_t theirs;
    std::memcpy(&theirs, handle.bytes, sizeof theirs);
    if (cudaIpcOpenMemHandle(&data, theirs, cudaIpcMemLazyEnablePeerAccess) != cudaSuccess) {
      cudaGetLastError();
      return std::nullopt;
    }
    return Buffer(static_cast<std::byte*>(data), bytes, release_opened);
  }

  void copy(void* to, const void* from, size_t bytes) override {
    make_room();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_), "a copy");
  }

  void copy_runs(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                 size_t count) override {
    if (count == 1) return copy(to, from, bytes);
    make_room();
    check(cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, count, cudaMemcpyDefault, stream_), "a copy");
  }

  void meet(const Meeting& meeting) override {
    make_room();
    enqueue_meet(Launch{0, 1, stream_}, {meeting.places, meeting.rank});
    check(cudaGetLastError(), "a kernel");
    met_ = &meeting;
  }

  void synchronize() override {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    for (int spin = 0;; spin++) {
      const cudaError_t state = cudaStreamQuery(stream_);
      if (state == cudaSuccess) break;
      if (state != cudaErrorNotReady) check(state, "the operations of a step");
      if (spin < kSpins) continue;
      if (Clock::now() - start > wait_)
        fail(ExitCode::stuck, "{} has not finished its operations for {:.0f} s{}", name_,
             std::chrono::duration<double>(wait_).count(), waited_for());
      if (ask_) ask_();
      sched_yield();
    }
    queued_ = 0;
    cudaGetLastError();  // "not ready" is no error of the next launch
  }

  // The first time a kernel runs, its code is loaded, which no graph can hold: so the second time makes the graph.
  void repeat(int64_t key, const std::function<void()>& operations) override {
    const auto [graph, first] = graphs_.try_emplace(key, nullptr);
    if (first || (!graph->second && recorded_ == most_graphs_)) return operations();
    if (!graph->second) graph->second = record(operations);
    if (!graph->second) return operations();
    make_room();
    check(cudaGraphLaunch(graph->second, stream_), "a graph of operations");
  }

  std::string name() const override { return name_; }
  const Kernels& kernels() const override { return kernels_; }
  const Kernels* fast_kernels(std::span<const std::string> prefixes, std::string& missing) override {
    if (products_) return &products_->kernels();
    CublasLt::Search search = CublasLt::search_installed(prefixes);
    missing = search.missing;
    if (!search.found) return nullptr;
    auto products = std::make_unique<LibraryProducts>(
        std::move(*search.found), take(LibraryProducts::kWorkspaceBytes, "cuBLASLt's workspace"), kernels_);
    missing = products->missing();
    if (!missing.empty()) return nullptr;
    products_ = std::move(products);
    return &products_->kernels();
  }
  std::string uuid() const override { return uuid_; }
  std::string chip() const override { return chip_; }
  int64_t available_bytes() const override { return static_cast<int64_t>(memory().first); }
  std::unique_ptr<Lane> open_lane(int marks) override { return std::make_unique<EventLane>(stream_, name_, marks); }
  void waits_for(std::string whom, std::function<void()> ask) override {
    behind_lane_ = std::move(whom);
    ask_ = std::move(ask);
  }

 private:
  void launch_erased(Thunk thunk, const void* call) override {
    make_room();
    thunk(call, Launch{0, 1, stream_, products_.get()});
    check(cudaGetLastError(), "a kernel");
  }

  std::string waited_for() const {
    const std::string& whom = met_ ? met_->name : behind_lane_;
    return whom.empty() ? "" : "; or it waits for another of " + whom;
  }

  // Before anything is enqueued: an operation is a kernel, and what a graph records is not in the queue.
  void make_room() {
    if (recording_) return;
    if (queued_ == kMostQueued) synchronize();
    queued_++;
  }

  // Null where the GPU has no room for another graph: what is only faster may not end a run.
  cudaGraphExec_t record(const std::function<void()>& operations) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "a graph's begin");
    recording_ = true;
    operations();
    recording_ = false;
    const BoundedCall call = bounded("a graph to be made");
    cudaGraph_t recorded = nullptr;
    check(cudaStreamEndCapture(stream_, &recorded), "a graph's end");
    cudaGraphExec_t graph = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&graph, recorded, 0);
    check(cudaGraphDestroy(recorded), "a graph's draft to go");
    if (made == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      most_graphs_ = recorded_;
      return nullptr;
    }
    check(made, "a graph to be made");
    recorded_++;
    return graph;
  }

  // A call of the driver that may block for good.
  BoundedCall bounded(const char* what) const {
    return {fmt::format("{}, asked for {}", name_, what), wait_, end_, ExitCode::stuck, "its driver is stuck"};
  }

  Buffer take(size_t bytes, const char* what) {
    if (bytes == 0) return {};
    const BoundedCall call = bounded(what);
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, bytes);
    if (error == cudaErrorMemoryAllocation) no_room(bytes, what);
    check(error, what);
    hold_device(static_cast<int64_t>(bytes));
    return {static_cast<std::byte*>(data), bytes, release_device};
  }

  void check(cudaError_t error, const char* what) const {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // told here; who goes on after it must not meet it again
    const ExitCode code = error == cudaErrorMemoryAllocation ? ExitCode::out_of_memory : ExitCode::internal;
    fail(code, "{}, asked for {}: {}", name_, what, cudaGetErrorString(error));
  }
  [[noreturn]] void no_host_room(size_t bytes, const char* what) const {
    cudaGetLastError();  // the error is told here
    fail(ExitCode::out_of_memory,
         "{}: the host has no {} MiB of memory to lock for {}; give the job more memory, or lower --max-seqs", name_,
         mib(bytes), what);
  }
  [[noreturn]] void no_room(size_t bytes, const char* what) const {
    cudaGetLastError();  // the error is told here
    const auto [free, total] = memory();
    fail(ExitCode::out_of_memory,
         "{} has no {} MiB for {}: {} of its {} MiB are free; use more GPUs, or lower --max-seqs or --kv-gib", name_,
         mib(bytes), what, free >> 20, total >> 20);
  }
  std::pair<size_t, size_t> memory() const {  // bytes free, bytes in all
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "its free memory");
    return {free, total};
  }
  static size_t mib(size_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

  std::chrono::milliseconds wait_;
  BoundedCall::End end_;
  std::string name_, uuid_, chip_, level_;
  std::array<char, 16> device_{};
  const Meeting* met_ = nullptr;  // the last one
  std::string behind_lane_;
  std::function<void()> ask_;
  cudaStream_t stream_ = nullptr;
  int queued_ = 0;  // since the host last saw the stream empty
  bool recording_ = false;
  size_t most_graphs_, recorded_ = 0;
  std::map<int64_t, cudaGraphExec_t> graphs_;  // null: none recorded
  Kernels kernels_;
  std::unique_ptr<LibraryProducts> products_;
};

}  // namespace

CudaProbe probe_cuda() {
  int gpus = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&gpus);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (error == cudaSuccess && gpus > 0) return {gpus, ""};
  if (driver == 0) return {0, "this machine has no NVIDIA driver; leave --device out to run on the CPU"};
  if (error == cudaErrorInsufficientDriver)
    return {0, fmt::format("the driver runs CUDA {}, this build is of {}: update the driver", version_text(driver),
                           version_text(runtime))};
  if (error == cudaSuccess || error == cudaErrorNoDevice)
    return {0, "no GPU is visible to this process (CUDA_VISIBLE_DEVICES, the job's --gpus)"};
  return {0, fmt::format("the driver reports: {}", cudaGetErrorString(error))};
}

std::string cuda_build() {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  return fmt::format("{}, for sm_80, sm_90a and later", version_text(runtime));
}

std::unique_ptr<CudaDevice> CudaDevice::open(int gpu, std::chrono::milliseconds wait, bool graphs,
                                             BoundedCall::End end) {
  if (const CudaProbe probe = probe_cuda(); gpu >= probe.gpus)
    fail(ExitCode::configuration, "--device cuda: {}", probe.missing);
  return std::make_unique<OneStream>(gpu, wait, graphs, end);
}

}  // namespace trireme
