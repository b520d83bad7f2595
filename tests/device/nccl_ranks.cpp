// NCCL between GPUs that do not exist: messages of every size to everyone, in order; sums; channels; pieces of windows.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>

#include "comm/nccl_channels.h"
#include "comm/nccl_collective.h"
#include "comm/nccl_sum.h"
#include "comm/tree_reduce.h"
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

  ranks.test("a reduce adds by it from 1 MiB on where GPUs reach each other, else always", [&] {
    constexpr int kUnits = 5;  // of 3 ranks the second has two roots
    constexpr int64_t kColumns = 4096, kRows = TreeReduce::kGroupSumBytes / int64_t{sizeof(float)} / kColumns;
    std::vector<UnitRange> held;
    for (int r = 0; r < size; r++) held.push_back({kUnits * r / size, kUnits * (r + 1) / size});
    const size_t window = TreeReduce::window_bytes(kUnits, held, kColumns, kRows);
    const size_t mine = maximal_nodes(kUnits, held[static_cast<size_t>(me)]).size();
    auto link = std::shared_ptr<NcclCommunicator>(join(all, NcclCollective::kMarks + NcclSum::kMarks));
    NcclSum sum(link, gpu, NcclCollective::kMarks);
    auto fabric = Fabric::create(ranks.world);
    auto p2p = fabric->collective(all, window);
    p2p->place_windows(gpu);
    ranks.check(p2p->is_operation(), p2p->transport());
    NcclCollective pieces(link, gpu, window);
    for (Collective* group : {static_cast<Collective*>(p2p.get()), static_cast<Collective*>(&pieces)}) {
      TreeReduce reduce(*group, gpu, gpu.kernels(), kUnits, held, kColumns, kRows);
      ranks.check(!reduce.by_group_sum(kRows), "the tree's order where nobody said otherwise");
      group->sum_by(&sum);
      ranks.check(reduce.by_group_sum(kRows) && reduce.by_group_sum(1) == (group == &pieces), group->transport());
      for (int64_t rows : {int64_t{1}, kRows, int64_t{1}, kRows}) {
        const size_t count = static_cast<size_t>(rows * kColumns);
        Numbers out(gpu, count), roots(gpu, mine * count);
        out.fill(7);
        for (size_t i = 0; i < roots.host.size(); i++)
          roots.host[i] = static_cast<float>(10 * (static_cast<size_t>(me) + 1) + i % count % 5);
        gpu.copy(reduce.roots(), roots.host.data(), roots.memory.bytes());
        reduce.add_to({out.memory.as<float>(), rows, kColumns});
        std::vector<float> expected = counting(count, 7);
        for (size_t i = 0; i < count; i++)
          for (int r = 0; r < size; r++)
            for (size_t root = 0; root < maximal_nodes(kUnits, held[static_cast<size_t>(r)]).size(); root++)
              expected[i] += static_cast<float>(10 * (r + 1)) + static_cast<float>(i % 5);
        ranks.check(out.read() == expected, fmt::format("{} rows by {}", rows, group->transport()));
      }
    }
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
    setenv("TRIREME_EMULATED_GPUS", std::to_string(ranks.world.size()).c_str(), 1);  // one for each
    const auto gpu = CudaDevice::open(ranks.world.rank(), kDeadline);
    const std::vector<std::string> files = {TRIREME_FAKE_NCCL};
    Nccl nccl(files);
    ranks.test("the library serves", [&] { ranks.check(nccl.missing().empty(), nccl.missing()); });
    nccl.keep_log();
    test(ranks, *gpu, nccl);
  });
}
