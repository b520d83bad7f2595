// The tests of kernels on a real GPU. They keep their inputs in vectors and on the stack; here both are memory that GPU
// and CPU share, so that no test knows where it runs: page-locked memory of the host, which the GPU reads over its
// link. Not managed memory: in some sandboxes no system call may be given it, and not every GPU lets a CPU touch it at
// any time. Exit code 77, and why, where there is no GPU for them.
#define DOCTEST_CONFIG_IMPLEMENT
#include "on_gpu.h"

#include <cuda_runtime.h>
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>

#include "base/error.h"
#include "fixture.h"

namespace {

// Shared memory in blocks of powers of two, which are used again.
class Arena {
 public:
  // Null, or why there is none.
  const char* open(size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return "there is not enough";
    void* seen = nullptr;
    cudaError_t error = cudaHostRegister(memory, bytes, cudaHostRegisterMapped);
    if (error == cudaSuccess) error = cudaHostGetDevicePointer(&seen, memory, 0);
    if (error != cudaSuccess) return cudaGetErrorString(error);
    if (seen != memory) return "it sees the host's memory elsewhere than the host does";
    begin_ = next_ = static_cast<char*>(memory);
    end_ = begin_ + bytes;
    return nullptr;
  }
  bool is_open() const { return begin_ != nullptr; }
  bool holds(const void* at) const { return at >= begin_ && at < end_; }

  void* allocate(size_t bytes) {
    const size_t rounded = std::bit_ceil(bytes + kHeader);
    const int size_class = std::countr_zero(rounded);
    char*& free = free_[size_class];
    char* block = free;
    if (block)
      free = *reinterpret_cast<char**>(block + kHeader);
    else if (static_cast<size_t>(end_ - next_) >= rounded)
      block = std::exchange(next_, next_ + rounded);
    else
      throw std::bad_alloc();
    *reinterpret_cast<int*>(block) = size_class;
    return block + kHeader;
  }
  void release(void* at) {
    char* block = static_cast<char*>(at) - kHeader;
    char*& free = free_[*reinterpret_cast<int*>(block)];
    *static_cast<char**>(at) = free;
    free = block;
  }

 private:
  static constexpr size_t kHeader = 64;  // keeps what follows aligned
  char *begin_ = nullptr, *next_ = nullptr, *end_ = nullptr;
  char* free_[64] = {};
};
Arena arena;

constexpr size_t kArenaBytes = size_t{1} << 30, kStackBytes = size_t{64} << 20;
constexpr int kSkipped = 77, kFailed = 1;

int skip(const char* why) {
  std::printf("skipped: kernels on a GPU: %s\n", why);
  return kSkipped;
}

int fail_here(const char* why) {
  std::printf("FAILED: kernels on a GPU: %s\n", why);
  return kFailed;
}

// main's, for the tests on their own stack. One thread allocates, so the arena has no lock.
int argument_count = 0, exit_code = kFailed;
char** argument_words = nullptr;

void run_tests() {
  doctest::Context context(argument_count, argument_words);
  exit_code = context.run();
}

// Without any driver the runtime reports an insufficient one.
bool is_absent(cudaError_t error) {
  int driver = 0;
  return error == cudaErrorNoDevice ||
         (error == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0);
}

}  // namespace

void* operator new(size_t bytes) {
  if (arena.is_open()) return arena.allocate(bytes);
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* at) noexcept {
  if (at && arena.holds(at))
    arena.release(at);
  else
    std::free(at);
}
void operator delete(void* at, size_t) noexcept { operator delete(at); }

namespace trireme {

namespace {

Kernels enqueued;
int architecture = 0;

template <auto kOperation>
struct Waiting;
template <typename Args, void (*Kernels::*kOperation)(const Launch&, const Args&)>
struct Waiting<kOperation> {
  static void call(const Launch& launch, const Args& args) {
    (enqueued.*kOperation)(launch, args);
    cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess) error = cudaDeviceSynchronize();
    if (error != cudaSuccess) fail(ExitCode::internal, "the GPU reports: {}", cudaGetErrorString(error));
  }
};

template <auto... kOperations>
void replace(Kernels& kernels) {
  ((kernels.*kOperations = Waiting<kOperations>::call), ...);
}

}  // namespace

void wait_after_each(Kernels& kernels) {
  enqueued = kernels;
  replace<&Kernels::embed, &Kernels::gather_rows, &Kernels::take_rows, &Kernels::rms_norm, &Kernels::encode,
          &Kernels::matmul, &Kernels::rope_append, &Kernels::attention, &Kernels::gated_mul, &Kernels::gated_matmul,
          &Kernels::sum_squares, &Kernels::norm_by_squares, &Kernels::add_bias, &Kernels::add_scaled, &Kernels::scale,
          &Kernels::route, &Kernels::place_by_expert, &Kernels::expert_combine, &Kernels::tree_combine,
          &Kernels::add_norm, &Kernels::sample, &Kernels::best_tokens, &Kernels::exp_sums>(kernels);
}

int gpu_architecture() { return architecture; }

}  // namespace trireme

int main(int count, char** words) {
  int devices = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&devices); error != cudaSuccess)
    return is_absent(error) ? skip(cudaGetErrorString(error)) : fail_here(cudaGetErrorString(error));
  if (devices == 0) return skip("there is none");
  cudaDeviceProp device{};
  if (const cudaError_t error = cudaGetDeviceProperties(&device, 0); error != cudaSuccess)
    return fail_here(cudaGetErrorString(error));
  std::printf("%s, sm_%d%d\n", device.name, device.major, device.minor);
  trireme::architecture = device.major * 10 + device.minor;
  trireme::testing::on_real_gpu = true;
  if (device.major < 8) return fail_here("it is older than sm_80");
  if (const char* why = arena.open(kArenaBytes))
    return fail_here((std::string("no memory of the host that it shares: ") + why).c_str());

  ucontext_t here, tests;
  getcontext(&tests);
  tests.uc_stack.ss_sp = arena.allocate(kStackBytes);
  tests.uc_stack.ss_size = kStackBytes;
  tests.uc_link = &here;
  argument_count = count;
  argument_words = words;
  makecontext(&tests, run_tests, 0);
  swapcontext(&here, &tests);
  std::fflush(stdout);
  std::_Exit(exit_code);  // the arena stays open: what static objects hold lies in it
}
