// NCCL between GPUs that do not exist: messages of every size to everyone, in order; sums; channels; pieces of windows.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

#include "comm/nccl_channels.h"
#include "comm/nccl_collective.h"
#include "device/pinned_vector.h"
#include "tests/comm/ranks.h"

using namespace trireme;

namespace {

constexpr std::chrono::seconds kDeadline{20};

// Memory of a GPU with numbers in it, and what stands there now.
struct Numbers {
  CudaDevice& gpu;
  PinnedVector<float> host;
  Buffer memory;

  Numbers(CudaDevice& on, size_t count)
      : gpu(on), host(on, count, "numbers"), memory(on.allocate(count * sizeof(float), "numbers")) {
    host.resize(count);
  }
  void fill(float first) {
    std::iota(host.begin(), host.end(), first);
    gpu.copy(memory.data(), host.data(), memory.bytes());
  }
  std::vector<float> read() {
    gpu.copy(host.data(), memory.data(), memory.bytes());
    gpu.synchronize();
    return {host.begin(), host.end()};
  }
};

std::vector<float> counting(size_t count, float first) {
  std::vector<float> numbers(count);
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

// As long as lanes may get on, but the GPU's own stream does not: who did not order one behind the other is seen.
void linger(Waiter& waiter) {
  for (int i = 0; i < 20; i++) {
    waiter.progress();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void test(testing::Ranks& ranks, CudaDevice& gpu, const Nccl& nccl) {
  std::vector<int> all(static_cast<size_t>(ranks.world.size()));
  std::iota(all.begin(), all.end(), 0);
  const int me = ranks.world.rank(), size = ranks.world.size();
  const auto join = [&](std::vector<int> members, int marks) {
    return std::make_unique<NcclCommunicator>(nccl, ranks.world, members, gpu, marks);
  };

  ranks.test("a sum in place", [&] {
    auto group = join(all, 1);
    ranks.check(group->transport() == "P2P/IPC", group->transport());
    Numbers numbers(gpu, 5000);
    numbers.fill(static_cast<float>(me));
    group->follow();
    group->start_sum(numbers.memory.as<float>(), 5000, 0);
    group->wait(0, [] { return std::string("a sum"); });
    std::vector<float> expected(5000);
    for (size_t i = 0; i < expected.size(); i++)
      for (int r = 0; r < size; r++) expected[i] += static_cast<float>(r) + static_cast<float>(i);
    ranks.check(numbers.read() == expected, "the sum of all ranks' numbers");
  });

  ranks.test("a chain of channels keeps messages whole and in order", [&] {
    const size_t most = 40000;  // of one message: larger than a mailbox of the fake
    std::unique_ptr<NcclReceiver> from;
    std::unique_ptr<NcclSender> to;
    if (me > 0)
      from = std::make_unique<NcclReceiver>(join({me - 1, me}, NcclReceiver::kSlots), gpu, most * sizeof(float));
    if (me + 1 < size)
      to = std::make_unique<NcclSender>(join({me, me + 1}, NcclSender::kSlots), gpu, most * sizeof(float));
    Numbers stream(gpu, most);
    for (int step = 0; step < 7; step++) {
      const size_t count = step % 2 ? 3 : most, bytes = count * sizeof(float);
      if (from && step != 4) from->expect(bytes);
      linger(ranks.world.waiter());
      gpu.synchronize();
      if (from) from->receive({stream.memory.data(), bytes});
      if (!from) stream.fill(static_cast<float>(step));
      if (to) to->send({stream.memory.data(), bytes});
      linger(ranks.world.waiter());
      if (!to) {
        auto seen = stream.read();
        seen.resize(count);
        ranks.check(seen == counting(count, static_cast<float>(step)), fmt::format("message {}", step));
      }
    }
  });

  ranks.test("pieces of windows arrive, and nothing beside them", [&] {
    NcclCollective group(join(all, NcclCollective::kMarks), gpu, 4096);
    Numbers numbers(gpu, 1024);
    std::vector<Collective::Piece> pieces(all.size(), Collective::Piece{256, 64, 512, 3});
    for (int exchange = 0; exchange < 3; exchange++) {
      numbers.fill(static_cast<float>(100000 * exchange + 10000 * me));
      gpu.copy(group.window(), numbers.memory.data(), 4096);
      gpu.synchronize();
      group.exchange(pieces, pieces);
      for (int r = 0; r < size; r++) {
        if (r == me) continue;
        gpu.copy(numbers.memory.data(), group.shown(r), 4096);
        const auto seen = numbers.read();
        const auto sent = counting(1024, static_cast<float>(100000 * exchange + 10000 * r));
        for (size_t i = 0; i < seen.size(); i++) {
          const size_t byte = i * 4;
          const bool shown = byte >= 256 && (byte - 256) / 512 < 3 && (byte - 256) % 512 < 64;
          ranks.check(seen[i] == (shown ? sent[i] : 0), fmt::format("exchange {}, rank {}, number {}", exchange, r, i));
        }
      }
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_ranks(argc, argv, kDeadline, [](testing::Ranks& ranks) {
    const auto gpu = CudaDevice::open(0, kDeadline);
    const std::vector<std::string> files = {TRIREME_FAKE_NCCL};
    Nccl nccl(files);
    ranks.test("the library serves", [&] { ranks.check(nccl.missing().empty(), nccl.missing()); });
    nccl.keep_log();
    test(ranks, *gpu, nccl);
  });
}
