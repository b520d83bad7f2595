#include <cuda_runtime_api.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/held_memory.h"
#include "base/patience.h"
#include "device/cuda.h"
#include "device/cuda_driver.h"
#include "device/cuda_lane.h"
#include "device/library_products.h"
#include "device/warpgroups.h"
#include "kernels/cuda/cuda_kernels.h"

namespace trireme {

namespace {

static_assert(CudaDevice::kMostUnits == kMostTreeUnits && CudaDevice::kMostRoots == kMostNodes);
static_assert(Device::kMostMeet == kMostRanksMeet);
constexpr int kEarlyArchitecture = 9;  // sm_90: the first whose kernels may begin early (Launch::early)
constexpr size_t kMostGraphs = 64;     // that repeat() keeps: each takes memory of host and GPU
constexpr int kSpins = 2000;           // queries of the stream before a waiting host gives way
// Entries of a stream's queue that the host fills before it waits for the GPU. Past about 1000 a launch blocks inside
// the driver, which has no deadline; NVIDIA documents no number (measured: forums.developer.nvidia.com, topic 68937,
// "more than 1000"). Operations are counted, of which some are three entries. The wait costs nothing: a kernel takes
// longer than the one gap of a launch in 300.
constexpr int kMostQueued = 300;

// These wait for the GPU: on a failing one its memory is left to the process's end.
template <typename F>
void give_back(void* driver, const F& f) {
  if (!device_is_failing()) static_cast<CudaDriver*>(driver)->call("memory to be given back", f);
}
void release_device(std::byte* data, size_t bytes, void* driver) noexcept {
  hold_device(-static_cast<int64_t>(bytes));
  give_back(driver, [&] { return cudaFree(data); });
}
void release_pinned(std::byte* data, size_t bytes, void* driver) noexcept {
  hold_pinned(-static_cast<int64_t>(bytes));
  give_back(driver, [&] { return cudaFreeHost(data); });
}
void release_opened(std::byte* data, size_t, void* driver) noexcept {
  give_back(driver, [&] { return cudaIpcCloseMemHandle(data); });
}
void release_pin(std::byte* data, size_t, void* driver) noexcept {
  give_back(driver, [&] { return cudaHostUnregister(data); });
}

std::string text_of(const cudaUUID_t& uuid) {
  std::string text;
  for (char byte : uuid.bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

class OneStream final : public CudaDevice {
 public:
  OneStream(int gpu, const cudaDeviceProp& properties, std::chrono::milliseconds wait, bool graphs, Watchdog::End end,
            bool early)
      : wait_(wait), driver_(name_of(gpu, properties), wait, std::move(end)), most_graphs_(graphs ? kMostGraphs : 0) {
    std::copy_n(properties.uuid.bytes, device_.size(), device_.begin());
    uuid_ = text_of(properties.uuid);
    chip_ = fmt::format("{:08x}:{:02x}:{:02x}", properties.pciDomainID, properties.pciBusID, properties.pciDeviceID);
    if (const std::string why = cuda_unfit(properties.major * 10 + properties.minor); !why.empty())
      fail(ExitCode::configuration, "--device cuda: {} {}; leave --device out to run on the CPU", name(), why);
    const cudaError_t opened = driver_.call("to be opened", [&] { return cudaSetDevice(gpu); });
    if (opened == cudaErrorDevicesUnavailable)
      fail(ExitCode::configuration,
           "--device cuda: {} is taken by another process, and its mode lets in one only; give each rank a GPU of its "
           "own",
           name());
    driver_.check(opened, "to be opened");
    driver_.ask("a stream", [&] { return cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); });
    begins_early_ = graphs && early && properties.major >= kEarlyArchitecture;
    line_.stream = stream_;
    workspace_ = allocate(kGpuWorkspaceBytes, "sums that blocks share");
    line_.workspace = workspace_.span<std::byte>();
    fill_cuda(kernels_, properties.major * 10 + properties.minor);
    level_ = fmt::format("cuda-sm_{}{}{}", properties.major, properties.minor, kernels_.inputs.e4m3 ? "+fp8" : "");
    kernels_.level = level_;
    if (properties.major == 9 && properties.minor == 0) choose_warpgroups();
  }
  ~OneStream() override {
    if (device_is_failing()) return;
    driver_.call("to be closed", [&] {
      for (auto& [key, graph] : graphs_)
        if (graph) cudaGraphExecDestroy(graph);
      return cudaStreamDestroy(stream_);
    });
  }

  Buffer allocate(size_t bytes, const char* what) override {
    Buffer buffer = take(bytes, what);
    if (bytes == 0) return buffer;
    enqueue(what, [&] { return cudaMemsetAsync(buffer.data(), 0, bytes, stream_); });
    return buffer;
  }

  Buffer allocate_pinned(size_t bytes, const char* what) override {
    if (bytes == 0) return {};
    void* data = nullptr;
    const cudaError_t error = driver_.call(what, [&] { return cudaHostAlloc(&data, bytes, cudaHostAllocMapped); });
    if (error == cudaErrorMemoryAllocation) no_host_room(bytes, what);
    driver_.check(error, what);
    std::memset(data, 0, bytes);
    hold_pinned(static_cast<int64_t>(bytes));
    return {static_cast<std::byte*>(data), bytes, release_pinned, &driver_};
  }

  // From pageable memory: the call comes back when the bytes are read.
  Buffer upload(Buffer host, const char* what) override {
    Buffer buffer = take(host.bytes(), what);
    enqueue(what,
            [&] { return cudaMemcpyAsync(buffer.data(), host.data(), host.bytes(), cudaMemcpyDefault, stream_); });
    synchronize();
    return buffer;
  }

  Buffer pin(std::span<std::byte> memory, const char* what) override {
    if (memory.empty()) return {};
    const cudaError_t error =
        driver_.call(what, [&] { return cudaHostRegister(memory.data(), memory.size(), cudaHostRegisterMapped); });
    if (error == cudaErrorMemoryAllocation) no_host_room(memory.size(), what);
    driver_.check(error, what);
    Buffer pinned(memory.data(), memory.size(), release_pin, &driver_);
    void* seen = nullptr;
    driver_.ask(what, [&] { return cudaHostGetDevicePointer(&seen, memory.data(), 0); });
    if (seen != memory.data())
      fail(ExitCode::configuration, "--device cuda: {} sees the host's memory elsewhere than the host does", name());
    return pinned;
  }

  bool works_in_host_memory() const override { return false; }

  Handle share(const Buffer& memory) override {
    static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(Handle::bytes));
    Handle handle{{}, device_};
    cudaIpcMemHandle_t theirs;
    driver_.ask("a handle of its memory", [&] { return cudaIpcGetMemHandle(&theirs, memory.data()); });
    std::memcpy(handle.bytes, &theirs, sizeof theirs);
    return handle;
  }

  std::optional<Buffer> open(const Handle& handle, size_t bytes) override {
    void* data = nullptr;
    cudaIpcMemHandle_t theirs;
    std::memcpy(&theirs, handle.bytes, sizeof theirs);
    const auto open_it = [&] { return cudaIpcOpenMemHandle(&data, theirs, cudaIpcMemLazyEnablePeerAccess); };
    if (driver_.call("another's memory", open_it) != cudaSuccess) {
      cudaGetLastError();
      return std::nullopt;
    }
    return Buffer(static_cast<std::byte*>(data), bytes, release_opened, &driver_);
  }

  void copy(void* to, const void* from, size_t bytes) override {
    enqueue("a copy", [&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_); });
  }

  void copy_runs(void* to, size_t to_stride, const void* from, size_t from_stride, size_t bytes,
                 size_t count) override {
    if (count == 1) return copy(to, from, bytes);
    enqueue("a copy", [&] {
      return cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, count, cudaMemcpyDefault, stream_);
    });
  }

  void meet(const Meeting& meeting) override {
    enqueue_kernel([&](const Launch& launch) { enqueue_meet(launch, {meeting.places, meeting.rank}); });
    met_ = &meeting;
  }

  void synchronize() override {
    constexpr const char* kOperations = "the operations of a step";
    Patience patience(wait_);
    bool over = false;  // asked once more after that
    for (int spin = 0;; spin++) {
      const cudaError_t state = driver_.call(kOperations, [&] { return cudaStreamQuery(stream_); });
      if (state == cudaSuccess) break;
      if (state != cudaErrorNotReady) driver_.check(state, kOperations);
      if (spin < kSpins) continue;
      if (std::exchange(over, patience.over()))
        fail(ExitCode::stuck, "{} has not finished its operations for {:.0f} s{}", name(),
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
    enqueue("a graph of operations", [&] { return cudaGraphLaunch(graph->second, stream_); });
  }

  std::string name() const override { return driver_.gpu(); }
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
    line_.products = products_.get();
    return &products_->kernels();
  }
  std::string uuid() const override { return uuid_; }
  std::string chip() const override { return chip_; }
  std::string graphs_refused() const override { return graphs_refused_; }
  int64_t available_bytes() const override { return static_cast<int64_t>(memory().first); }
  std::unique_ptr<Lane> open_lane(int marks) override {
    return std::make_unique<EventLane>(stream_, driver_, marks, in_line_);
  }
  void waits_for(std::string whom, std::function<void()> ask) override {
    behind_lane_ = std::move(whom);
    ask_ = std::move(ask);
  }

 private:
  void choose_warpgroups() {
    Kernels by_warpgroups = kernels_;
    take_warpgroups(by_warpgroups);
    if (warpgroups_add_alike(*this, kernels_, by_warpgroups)) kernels_ = by_warpgroups;
  }

  void launch_erased(Thunk thunk, const void* call, int64_t) override {
    enqueue_kernel([&](const Launch& launch) { thunk(call, launch); });
  }

  std::string waited_for() const {
    const std::string& whom = met_ ? met_->name : behind_lane_;
    return whom.empty() ? "" : "; or it waits for another of " + whom;
  }

  static std::string name_of(int gpu, const cudaDeviceProp& properties) {
    return fmt::format("GPU {} ({}, sm_{}{})", gpu, properties.name, properties.major, properties.minor);
  }

  // What a graph records is not in the queue, and a refusal ends the graph, not the run (record()).
  template <typename F>
  void enqueue(const char* what, const F& operation) {
    in_line_ = false;
    if (recording_) {
      const cudaError_t error = driver_.call(what, operation);
      if (recorded_error_ == cudaSuccess) recorded_error_ = error;
      return;
    }
    if (queued_ == kMostQueued) synchronize();
    queued_++;
    driver_.ask(what, operation);
  }
  // NVIDIA's documentation has kernels begin early behind kernels only: so not behind a copy, a graph or another
  // stream.
  template <typename F>
  void enqueue_kernel(const F& operation) {
    const bool behind_kernel = in_line_;
    bool enqueued = false;
    Launch launch = line_;
    launch.early = begins_early_ && behind_kernel;
    launch.enqueued = &enqueued;
    enqueue("a kernel", [&] {
      operation(launch);
      return cudaGetLastError();
    });
    in_line_ = enqueued || behind_kernel;
  }

  // Null where the GPU has no room for another graph or refuses it: what is only faster may not end a run.
  cudaGraphExec_t record(const std::function<void()>& operations) {
    cudaGraph_t recorded = nullptr;
    cudaGraphExec_t graph = nullptr;
    cudaError_t made = driver_.call("a graph's begin",
                                    [&] { return cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal); });
    if (made == cudaSuccess) {
      recording_ = true;
      in_line_ = false;
      recorded_error_ = cudaSuccess;
      operations();
      recording_ = in_line_ = false;
      made = driver_.call("a graph's end", [&] { return cudaStreamEndCapture(stream_, &recorded); });
      if (recorded_error_ != cudaSuccess) made = recorded_error_;
    }
    if (made == cudaSuccess)
      made = driver_.call("a graph to be made", [&] { return cudaGraphInstantiate(&graph, recorded, 0); });
    // Its memory, which its first launch would take.
    if (made == cudaSuccess)
      made = driver_.call("a graph to be ready", [&] { return cudaGraphUpload(graph, stream_); });
    if (recorded) driver_.call("a graph's draft to go", [&] { return cudaGraphDestroy(recorded); });
    if (made == cudaSuccess) return recorded_++, graph;
    if (graph) driver_.call("a graph to go", [&] { return cudaGraphExecDestroy(graph); });
    cudaGetLastError();
    most_graphs_ = recorded_;
    if (made != cudaErrorMemoryAllocation)
      graphs_refused_ = fmt::format("{} made {} CUDA graphs and no more ({}): other steps were enqueued one by one",
                                    name(), recorded_, cudaGetErrorString(made));
    return nullptr;
  }

  Buffer take(size_t bytes, const char* what) {
    if (bytes == 0) return {};
    void* data = nullptr;
    const cudaError_t error = driver_.call(what, [&] { return cudaMalloc(&data, bytes); });
    if (error == cudaErrorMemoryAllocation) no_room(bytes, what);
    driver_.check(error, what);
    hold_device(static_cast<int64_t>(bytes));
    return {static_cast<std::byte*>(data), bytes, release_device, &driver_};
  }

  [[noreturn]] void no_host_room(size_t bytes, const char* what) const {
    cudaGetLastError();  // the error is told here
    fail(ExitCode::out_of_memory,
         "{}: the host has no {} MiB of memory to lock for {}; give the job more memory, or lower --max-step-tokens or "
         "--max-seqs",
         name(), mib(bytes), what);
  }
  [[noreturn]] void no_room(size_t bytes, const char* what) const {
    cudaGetLastError();  // the error is told here
    const auto [free, total] = memory();
    fail(ExitCode::out_of_memory,
         "{} has no {} MiB for {}: {} of its {} MiB are free; use more GPUs, or lower --max-step-tokens, --max-seqs or "
         "--kv-gib",
         name(), mib(bytes), what, free >> 20, total >> 20);
  }
  std::pair<size_t, size_t> memory() const {  // bytes free, bytes in all
    size_t free = 0, total = 0;
    driver_.ask("its free memory", [&] { return cudaMemGetInfo(&free, &total); });
    return {free, total};
  }
  static size_t mib(size_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

  std::chrono::milliseconds wait_;
  mutable CudaDriver driver_;
  std::string uuid_, chip_, level_, graphs_refused_;
  std::array<char, 16> device_{};
  const Meeting* met_ = nullptr;  // the last one
  std::string behind_lane_;
  std::function<void()> ask_;
  cudaStream_t stream_ = nullptr;
  Launch line_;       // what all launches have
  Buffer workspace_;  // of it
  bool begins_early_ = false;
  bool in_line_ = false;  // whether a kernel was enqueued last
  int queued_ = 0;        // since the host last saw the stream empty
  bool recording_ = false;
  cudaError_t recorded_error_ = cudaSuccess;  // the first while recording
  size_t most_graphs_, recorded_ = 0;
  std::map<int64_t, cudaGraphExec_t> graphs_;  // null: none recorded
  Kernels kernels_;
  std::unique_ptr<LibraryProducts> products_;
};

}  // namespace

std::unique_ptr<CudaDevice> CudaDevice::open(int gpu, std::chrono::milliseconds wait, bool graphs, Watchdog::End end,
                                             bool early) {
  if (const CudaProbe probe = probe_cuda(); gpu >= probe.gpus)
    fail(ExitCode::configuration, "--device cuda: {}", probe.missing);
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, gpu); error != cudaSuccess)
    fail(ExitCode::internal, "GPU {}, asked for its properties: {}", gpu, cudaGetErrorString(error));
  return std::make_unique<OneStream>(gpu, properties, wait, graphs, std::move(end), early);
}

}  // namespace trireme
