#include "testkit/cuda/cuda_emulation.h"

#include <ucontext.h>

#include <cstdlib>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "testkit/cuda/tensor_emulation.h"

namespace trireme::cuda {

EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr int64_t kShared[] = {227 << 10, 163 << 10, 99 << 10};  // bytes: sm_90, sm_80, sm_86 (CUDA programming guide)
bool turns = true;
int64_t granted_shared = 48 << 10;  // what every block may have, then what was last said
constexpr size_t kStackBytes = size_t{64} << 10;
constexpr int kWarpLanes = 32;

int stalled = 0;  // times that threads gave way since one last got on

// A point that all threads of a group must reach before any goes on.
struct Barrier {
  int members = 0, waiting = 0;
  uint64_t passed = 0;  // times that it opened

  void look() {
    if (waiting == 0 || waiting < members) return;
    waiting = 0;
    passed++;
    stalled = 0;
  }
};

struct Warp {
  Barrier barrier;
  uint64_t words[2][kWarpLanes] = {};  // by turns: a lane may be one operation ahead of one that still reads
};

struct Copy {
  std::byte* to;
  const std::byte* from;
  int size, bytes;
};
using Copies = std::vector<Copy>;

// Of a warpgroup: a lane's registers, and where the rows are.
struct Product {
  bool f16;
  const unsigned (*weights)[4];
  uint64_t rows;
  float (*sums)[4];  // [tiles]
  int tiles;
};
using Products = std::vector<Product>;

using Place = void* [5];  // of __builtin_setjmp

// It lives for many blocks: entered once by a context of its own, then by jumps, which ask nothing of the kernel.
struct Fiber {
  Place place;
  const Barrier* barrier = nullptr;  // that it waits at, until it has opened more often than
  uint64_t passed = 0;
  std::deque<Copies> copies{1};  // the last group is not ended
  std::deque<Products> products{1};
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  uint64_t warp_operations = 0;
  bool entered = false, done = false, waited = false;  // for earlier kernels
  bool shows = true;                                   // its copies to products
  bool in_products = false;                            // a group has begun

  bool waits() const { return barrier && barrier->passed == passed; }
};

struct Block {
  Place scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  int counts[2] = {};  // at the barrier, by turns as a warp's words
  const std::function<void()>* kernel = nullptr;
  std::vector<uint4> memory;
  std::exception_ptr thrown;
  bool asleep = false;    // whether a thread waited for another GPU
  bool early = false;     // whether earlier kernels are still at work
  bool let_next = false;  // whether a thread said that the next one may begin
};
Block main_block;
Block* block = &main_block;  // the one that runs

Fiber& this_fiber() { return *block->fibers[threadIdx.x]; }
Warp& this_warp() { return block->warps[threadIdx.x / kWarpLanes]; }

// gcc's own jumps, for setjmp's take most of an emulated kernel's time. gcc must not see that a function has both ends
// of them, nor reckon that what it called left memory as it was (noipa).
[[gnu::noipa, noreturn]] void jump(Place& place) { __builtin_longjmp(place, 1); }

// To the scheduler, and back when it comes by again.
[[gnu::noipa]] void yield() {
  if (__builtin_setjmp(this_fiber().place) == 0) jump(block->scheduler);
}

void wait_at(Barrier& barrier) {
  Fiber& fiber = this_fiber();
  fiber.barrier = &barrier, fiber.passed = barrier.passed;
  barrier.waiting++;
  barrier.look();
  while (fiber.waits()) yield();
}

// A thread that has ended is waited for no more.
void leave(Barrier& barrier) {
  barrier.members--;
  barrier.look();
}

void run_threads() {
  for (;; yield()) {
    try {
      (*block->kernel)();
    } catch (...) {
      block->thrown = std::current_exception();
    }
    this_fiber().done = true;
    leave(this_warp().barrier);
    leave(block->barrier);
  }
}

// Lets a thread run until it waits or ends.
[[gnu::noipa]] void resume(Fiber& fiber) {
  if (__builtin_setjmp(block->scheduler) != 0) return;
  if (fiber.entered) jump(fiber.place);
  fiber.entered = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, run_threads, 0);
  setcontext(&context);
}

// A block of this many threads, none of which has begun.
void set_up_block(int threads, int64_t shared, const std::function<void()>& kernel) {
  while (static_cast<int>(block->fibers.size()) < threads) block->fibers.push_back(std::make_unique<Fiber>());
  block->warps.resize(static_cast<size_t>(threads / kWarpLanes));
  block->memory.assign(static_cast<size_t>(shared + 15) / sizeof(uint4), {~0u, ~0u, ~0u, ~0u});
  block->kernel = &kernel;
  block->thrown = nullptr;
  block->asleep = block->let_next = false;
  block->barrier = {threads, 0, 0};
  for (Warp& warp : block->warps) warp.barrier = {kWarpLanes, 0, 0};
  for (int i = 0; i < threads; i++) {
    Fiber& fiber = *block->fibers[static_cast<size_t>(i)];
    fiber.barrier = nullptr;
    fiber.done = fiber.waited = fiber.in_products = false;
    fiber.shows = true;
    fiber.warp_operations = 0;
    fiber.copies.assign(1, {});
    fiber.products.assign(1, {});
  }
}

// Lets each thread of a warp run until it waits or ends. How many are to go on.
int run_once(int warp, int threads) {
  int left = 0;
  for (int i = warp * kWarpLanes; i < (warp + 1) * kWarpLanes; i++) {
    Fiber& fiber = *block->fibers[static_cast<size_t>(i)];
    if (fiber.done || (block->early && fiber.waited)) continue;
    threadIdx.x = static_cast<unsigned>(i);
    stalled++;
    if (!fiber.waits()) resume(fiber);
    left += !fiber.done;
    if (fiber.done) stalled = 0;
    if (!block->asleep || stalled < 2 * threads) continue;
    for (auto& waiting : block->fibers) waiting->entered = false;
    block->asleep = false;
    throw StillWaiting();
  }
  return left;
}

// Lets the threads run by turns until all have ended or, of a block that began early, wait for earlier kernels. A warp
// whose threads met goes on: what they have in a cache is theirs for longer.
void run_threads_of_block(int threads) {
  stalled = 0;
  for (int left = threads; left > 0;) {
    left = 0;
    for (int i = 0; i < threads / kWarpLanes; i++) {
      const Barrier& barrier = block->warps[static_cast<size_t>(i)].barrier;
      uint64_t passed;
      int of_warp;
      do passed = barrier.passed, of_warp = run_once(i, threads);
      while (barrier.passed != passed);
      left += of_warp;
    }
  }
  if (block->thrown) std::rethrow_exception(block->thrown);
}

std::vector<std::unique_ptr<Block>> spare_blocks;  // whose fibers have stacks

// While it lives another block runs than the usual one.
struct Instead {
  explicit Instead(Block& other) { block = &other; }
  ~Instead() { block = &main_block; }
};

// A kernel that was enqueued.
class Kernel {
 public:
  Kernel(int64_t blocks, int threads, int64_t shared, std::function<void()> kernel)
      : blocks_(blocks), threads_(threads), shared_(shared), kernel_(std::move(kernel)) {
    must(threads > 0 && threads % kWarpLanes == 0, "a block has whole warps");
  }

  // The first block, up to where its threads wait for earlier kernels. Whether it lets the next one begin then.
  bool begin() {
    if (begun_) return begun_->let_next;
    if (spare_blocks.empty()) spare_blocks.push_back(std::make_unique<Block>());
    begun_ = std::move(spare_blocks.back());
    spare_blocks.pop_back();
    const Instead instead(*begun_);
    set_up_block(threads_, shared_, kernel_);
    block->early = true;
    run(0);
    block->early = false;
    return block->let_next;
  }

  // The rest. One that still waits for another GPU begins anew when it is asked again.
  void run() {
    const bool begun = begun_ != nullptr;
    if (std::unique_ptr<Block> first = std::move(begun_)) {
      const Instead instead(*first);
      run(0);
      spare_blocks.push_back(std::move(first));
    }
    static unsigned kernels = 0;  // of which every other goes through its blocks backwards: no order is promised
    const bool backwards = kernels++ % 2 == 1;
    for (int64_t i = begun; i < blocks_; i++) {
      set_up_block(threads_, shared_, kernel_);
      run(backwards ? blocks_ - 1 - (i - begun) : i);
    }
  }

 private:
  void run(int64_t i) {
    blockDim.x = static_cast<unsigned>(threads_);
    gridDim.x = static_cast<unsigned>(blocks_);
    blockIdx.x = static_cast<unsigned>(i);
    run_threads_of_block(threads_);
  }

  int64_t blocks_;
  int threads_;
  int64_t shared_;
  std::function<void()> kernel_;
  std::unique_ptr<Block> begun_;
};

}  // namespace

void (*enqueue_on_stream)(void* stream, std::function<bool()> begin, std::function<void()> work) = nullptr;

void emulate_kernel(void* stream, bool early, int64_t blocks, int threads, int64_t shared,
                    std::function<void()> kernel) {
  must(shared <= granted_shared, "a block has the shared memory that it asks for");
  const auto enqueued = std::make_shared<Kernel>(blocks, threads, shared, std::move(kernel));
  if (!stream) return enqueued->run();
  std::function<bool()> begin;
  if (early) begin = [enqueued] { return enqueued->begin(); };
  enqueue_on_stream(stream, std::move(begin), [enqueued] { enqueued->run(); });
}

void __syncthreads() { wait_at(block->barrier); }
int __syncthreads_count(int predicate) {
  int& count = block->counts[block->barrier.passed % 2];
  if (block->barrier.waiting == 0) count = 0;
  count += predicate != 0;
  wait_at(block->barrier);
  return count;
}

void wait_for_earlier() {
  this_fiber().waited = true;
  if (block->early) yield();
}
void let_next_begin() { block->let_next = true; }
void must_have_waited() { must(this_fiber().waited, "a kernel's threads wait for what was enqueued before"); }

void __nanosleep(unsigned) {
  block->asleep = true;
  yield();
}

std::byte* block_memory() { return reinterpret_cast<std::byte*>(block->memory.data()); }
int64_t most_shared() {
  static size_t asked = 0;
  return granted_shared = kShared[turns ? asked++ % std::size(kShared) : 0];
}
void take_turns(bool do_so) { turns = do_so; }

namespace {

void do_copy(const Copy& c) {
  std::memset(c.to, 0, static_cast<size_t>(c.size));
  std::memcpy(c.to, c.from, static_cast<size_t>(c.bytes));
}

}  // namespace

void copy_async(std::byte* shared, const std::byte* global, int size, int bytes) {
  must(reinterpret_cast<uintptr_t>(shared) % static_cast<size_t>(size) == 0 &&
           reinterpret_cast<uintptr_t>(global) % static_cast<size_t>(size) == 0 && bytes >= 0 && bytes <= size,
       "both ends of a copy are aligned to its size");
  if (blockIdx.x % 2 == 0)
    do_copy({shared, global, size, bytes});
  else
    this_fiber().copies.back().push_back({shared, global, size, bytes});
}
void end_copies() { this_fiber().copies.emplace_back(); }
void wait_until_pending(int groups) {
  this_fiber().shows = false;
  auto& copies = this_fiber().copies;
  for (; static_cast<int>(copies.size()) > groups + 1; copies.pop_front())
    for (const Copy& c : copies.front()) do_copy(c);
}

const uint64_t* exchange_in_warp(uint64_t word) {
  Warp& warp = this_warp();
  uint64_t* words = warp.words[this_fiber().warp_operations++ % 2];
  words[threadIdx.x % kWarpLanes] = word;
  wait_at(warp.barrier);
  return words;
}

namespace {

void do_product(const Product& p) {
  for (const auto& fiber : block->fibers) must(fiber->done || fiber->shows, "products see what copies brought");
  multiply_rows(p.f16, *p.weights, p.rows, p.sums, p.tiles);
}

}  // namespace

unsigned shared_address(const std::byte* at) { return static_cast<unsigned>(at - block_memory()); }

void show_copies_to_products() { this_fiber().shows = true; }
void begin_products() { this_fiber().in_products = true; }
void enqueue_tiles(bool f16, const unsigned (&weights)[4], uint64_t rows, float (*sums)[4], int tiles) {
  must(blockDim.x % 128 == 0, "warpgroups have four warps");
  must(this_fiber().in_products, "registers that a product reads are written before it begins");
  if (blockIdx.x % 3 == 1)  // neither with early copies nor with late ones always
    do_product({f16, &weights, rows, sums, tiles});
  else
    this_fiber().products.back().push_back({f16, &weights, rows, sums, tiles});
}
void end_products() {
  this_fiber().in_products = false;
  this_fiber().products.emplace_back();
}
void wait_until_products(int groups) {
  auto& products = this_fiber().products;
  for (; static_cast<int>(products.size()) > groups + 1; products.pop_front())
    for (const Product& p : products.front()) do_product(p);
}

}  // namespace trireme::cuda
