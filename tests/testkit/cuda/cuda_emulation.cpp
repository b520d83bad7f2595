#include "testkit/cuda/cuda_emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <exception>
#include <memory>
#include <vector>

#include "base/error.h"

namespace trireme::cuda {

EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t kStackBytes = size_t{64} << 10;
constexpr int kWarpLanes = 32;

// A point that all threads of a group must reach before any goes on.
struct Barrier {
  int members = 0, waiting = 0;
  uint64_t passed = 0;  // times that it opened

  void look() {
    if (waiting == 0 || waiting < members) return;
    waiting = 0;
    passed++;
  }
};

struct Warp {
  Barrier barrier;
  uint64_t words[2][kWarpLanes] = {};  // by turns: a lane may be one operation ahead of one that still reads
};

// It lives for many blocks: entered once by a context of its own, then by jumps, which ask nothing of the kernel.
struct Fiber {
  jmp_buf place;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  uint64_t warp_operations = 0;
  bool entered = false, done = false;
};

struct Block {
  jmp_buf scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  const std::function<void()>* kernel = nullptr;
  std::exception_ptr thrown;
};
Block block;

Fiber& this_fiber() { return *block.fibers[threadIdx.x]; }
Warp& this_warp() { return block.warps[threadIdx.x / kWarpLanes]; }

// To the scheduler, and back when it comes by again.
[[gnu::noinline]] void yield() {
  if (_setjmp(this_fiber().place) == 0) _longjmp(block.scheduler, 1);
}

void wait_at(Barrier& barrier) {
  const uint64_t before = barrier.passed;
  barrier.waiting++;
  barrier.look();
  while (barrier.passed == before) yield();
}

// A thread that has ended is waited for no more.
void leave(Barrier& barrier) {
  barrier.members--;
  barrier.look();
}

void run_threads() {
  for (;; yield()) {
    try {
      (*block.kernel)();
    } catch (...) {
      block.thrown = std::current_exception();
    }
    this_fiber().done = true;
    leave(this_warp().barrier);
    leave(block.barrier);
  }
}

// Lets a thread run until it waits or ends.
[[gnu::noinline]] void resume(Fiber& fiber) {
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.entered) _longjmp(fiber.place, 1);
  fiber.entered = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, run_threads, 0);
  setcontext(&context);
}

void run_block(int threads) {
  block.barrier = {threads, 0, 0};
  for (Warp& warp : block.warps) warp.barrier = {kWarpLanes, 0, 0};
  for (int i = 0; i < threads; i++) {
    block.fibers[static_cast<size_t>(i)]->done = false;
    block.fibers[static_cast<size_t>(i)]->warp_operations = 0;
  }
  for (int left = threads; left > 0;)
    for (int i = 0; i < threads; i++) {
      Fiber& fiber = *block.fibers[static_cast<size_t>(i)];
      if (fiber.done) continue;
      threadIdx.x = static_cast<unsigned>(i);
      resume(fiber);
      left -= fiber.done;
    }
}

void run_kernel(int64_t blocks, int threads, const std::function<void()>& kernel) {
  must(threads > 0 && threads % kWarpLanes == 0, "a block has whole warps");
  while (static_cast<int>(block.fibers.size()) < threads) block.fibers.push_back(std::make_unique<Fiber>());
  block.warps.resize(static_cast<size_t>(threads / kWarpLanes));
  block.kernel = &kernel;
  block.thrown = nullptr;
  blockDim.x = static_cast<unsigned>(threads);
  gridDim.x = static_cast<unsigned>(blocks);
  for (int64_t i = 0; i < blocks; i++) {
    blockIdx.x = static_cast<unsigned>(i);
    run_block(threads);
    if (block.thrown) std::rethrow_exception(block.thrown);
  }
}

}  // namespace

void (*enqueue_on_stream)(void* stream, std::function<void()> work) = nullptr;

void emulate_kernel(void* stream, int64_t blocks, int threads, std::function<void()> kernel) {
  auto run = [blocks, threads, kernel = std::move(kernel)] { run_kernel(blocks, threads, kernel); };
  stream ? enqueue_on_stream(stream, run) : run();
}

void __syncthreads() { wait_at(block.barrier); }

const uint64_t* exchange_in_warp(uint64_t word) {
  Warp& warp = this_warp();
  uint64_t* words = warp.words[this_fiber().warp_operations++ % 2];
  words[threadIdx.x % kWarpLanes] = word;
  wait_at(warp.barrier);
  return words;
}

}  // namespace trireme::cuda
