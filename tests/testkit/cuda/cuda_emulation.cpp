#include "testkit/cuda/cuda_emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <exception>
#include <memory>
#include <vector>

#include "base/dtype.h"
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

namespace {

// VDPBF16PS's multiply-add, as kernels/cpu/reference_matmul.cpp has it.
float fused_flushed(float x, float y, float sum) {
  constexpr float kSmallestNormal = 0x1p-126f;
  const float product = x * y, quick = product + sum;  // BF16's products are exact: one rounding, like a fused one
  if (std::fabs(product) >= kSmallestNormal && std::fabs(quick) > kSmallestNormal) return quick;
  auto flush = [](float v) { return std::fabs(v) < kSmallestNormal ? std::copysign(0.0f, v) : v; };
  x = flush(x), y = flush(y);
  const float result = std::fma(x, y, sum);
  if (std::fabs(result) == kSmallestNormal) {
    (std::fabs(x) < 1 ? x : y) *= 0x1p64f;
    if (std::fabs(std::fma(x, y, sum * 0x1p64f)) < kSmallestNormal * 0x1p64f) return std::copysign(0.0f, result);
  }
  return flush(result);
}

// What all lanes of a warp brought to a product of tensor cores, and where PTX says that an element stands: kEach of
// them in a register.
template <typename Element, int kEach>
struct TensorOperands {
  unsigned a[32][4], b[32][2];

  TensorOperands(const unsigned (&mine_a)[4], const unsigned (&mine_b)[2]) {
    take(mine_a, a, 0), take(mine_a, a, 2), take(mine_b, b, 0);
  }
  Element of_a(int row, int k) const { return element(a[row % 8 * 4 + in_quad(k)][row / 8 + k / kHalf * 2], k); }
  Element of_b(int k, int column) const { return element(b[column * 4 + in_quad(k)][k / kHalf], k); }

 private:
  static constexpr int kHalf = 4 * kEach;  // columns of a register over a quad
  static int in_quad(int k) { return k % kHalf / kEach; }
  static Element element(unsigned word, int k) {
    return static_cast<Element>(word >> (k % kEach) * static_cast<int>(32 / kEach));
  }
  template <size_t kRegisters>
  static void take(const unsigned (&mine)[kRegisters], unsigned (&all)[32][kRegisters], size_t first) {
    const uint64_t* words = exchange_in_warp(mine[first] | uint64_t{mine[first + 1]} << 32);
    for (int l = 0; l < 32; l++) {
      all[l][first] = static_cast<unsigned>(words[l]);
      all[l][first + 1] = static_cast<unsigned>(words[l] >> 32);
    }
  }
};

}  // namespace

void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], float (&sum)[4]) {
  const TensorOperands<uint16_t, 2> all(a, b);
  for (int i = 0; i < 4; i++) {
    const int row = this_lane() / 4 + i / 2 * 8, column = this_lane() % 4 * 2 + i % 2;
    for (int k = 0; k < 16; k += 2)
      for (int odd_first : {k + 1, k})
        sum[i] = fused_flushed(to_float(BF16{all.of_b(odd_first, column)}), to_float(BF16{all.of_a(row, odd_first)}),
                               sum[i]);
  }
}

void tensor_multiply(const unsigned (&a)[4], const unsigned (&b)[2], int (&sum)[4]) {
  const TensorOperands<uint8_t, 4> all(a, b);
  for (int i = 0; i < 4; i++) {
    const int row = this_lane() / 4 + i / 2 * 8, column = this_lane() % 4 * 2 + i % 2;
    for (int k = 0; k < 32; k++) sum[i] += all.of_a(row, k) * static_cast<int8_t>(all.of_b(k, column));
  }
}

}  // namespace trireme::cuda
