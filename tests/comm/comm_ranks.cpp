// The control plane and the data planes, on as many ranks as mpirun starts.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "comm/collective.h"
#include "comm/link_probe.h"
#include "comm/tree_reduce.h"
#include "device/cpu_device.h"
#include "tests/comm/ranks.h"
#include "tests/comm/scalar_combine.h"

using namespace trireme;
using namespace trireme::testing;

namespace {

void sleep_sometimes(std::mt19937& random, unsigned one_in) {
  if (random() % one_in == 0) usleep(random() % 500);
}

std::vector<int> everyone(const Communicator& world) {
  std::vector<int> members(static_cast<size_t>(world.size()));
  std::iota(members.begin(), members.end(), 0);
  return members;
}

std::vector<std::byte> bytes_of(const std::string& text) {
  auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

void control_plane(Ranks& ranks) {
  Communicator& world = ranks.world;
  int n = world.size(), me = world.rank();
  ranks.test("broadcast of any length", [&] {
    for (size_t bytes : {0, 1, 1015, 1016, 1017, 100'000, 3'000'000}) {
      std::vector<std::byte> data;
      for (size_t i = 0; me == n - 1 && i < bytes; i++) data.push_back(std::byte(i * 7));
      world.broadcast(data, n - 1);
      bool same = data.size() == bytes;
      for (size_t i = 0; same && i < bytes; i++) same = data[i] == std::byte(i * 7);
      ranks.check(same, fmt::format("{} bytes arrive", bytes));
    }
  });
  ranks.test("gather of uneven pieces", [&] {
    auto all = world.all_gather(std::vector<std::byte>(static_cast<size_t>(me * 3), std::byte(me)));
    for (int r = 0; r < n; r++)
      ranks.check(all[static_cast<size_t>(r)] == std::vector<std::byte>(static_cast<size_t>(r * 3), std::byte(r)),
                  "piece");
  });
  ranks.test("minimum, maximum, sum", [&] {
    ranks.check(world.all_min(me - 5) == -5, "minimum");
    ranks.check(world.all_max(int64_t{me} << 40) == int64_t{n - 1} << 40, "maximum");
    ranks.check(world.all_sum(me + 1) == n * (n + 1) / 2, "sum");
  });
  ranks.test("a split is a world of its own", [&] {
    Communicator half = world.split(me % 2, -me);
    ranks.check(half.size() == (n + 1 - me % 2) / 2, "size");
    ranks.check(half.all_max(me) == (me % 2 == (n - 1) % 2 ? n - 1 : n - 2), "highest rank");
  });
  ranks.test("ranks fail together, with the lowest failing rank's words", [&] {
    world.agree("", 70);
    std::string said;
    ExitCode code = ExitCode::done;
    try {
      world.agree(me >= n / 2 ? fmt::format("rank {} has a fault", me) : "", 65 + me);
    } catch (const Error& error) {
      said = error.what();
      code = error.code();
    }
    ranks.check(said == fmt::format("rank {} has a fault", n / 2), said);
    ranks.check(static_cast<int>(code) == 65 + n / 2, "code");
  });
  ranks.test("messages keep their order and their copies", [&] {
    int to = (me + 1) % n, from = (me + n - 1) % n;
    for (int i = 0; i < 50; i++) {
      auto text = bytes_of(std::string(static_cast<size_t>(i * 1000), static_cast<char>('a' + i % 26)));
      world.send(to, 7, text);
      std::fill(text.begin(), text.end(), std::byte{0});
    }
    for (int i = 0; i < 50; i++)
      ranks.check(world.receive(from, 7, "a test message") ==
                      bytes_of(std::string(static_cast<size_t>(i * 1000), static_cast<char>('a' + i % 26))),
                  fmt::format("message {}", i));
    world.flush();
    world.barrier();
    ranks.check(!world.try_receive(7).has_value(), "nothing is left");
  });
}

// Bytes that no two (rank, exchange, place) share by accident.
std::byte pattern(int rank, int exchange, size_t i) {
  return std::byte(static_cast<size_t>(rank * 31 + exchange * 17) + i * 13);
}

void exchanges(Ranks& ranks, Fabric& fabric, const std::string& how, int count) {
  constexpr size_t kBytes = 6000;
  auto members = everyone(ranks.world);
  ranks.test("exchanges " + how, [&] {
    auto group = fabric.collective(members, kBytes);
    int n = group->size(), me = group->rank();
    std::mt19937 random(static_cast<unsigned>(me));
    std::vector<Collective::Piece> to(members.size()), from(members.size());
    for (int k = 1; k <= count; k++) {
      // Sometimes nothing, sometimes one run, sometimes strided runs; by a rule that both ends know.
      auto piece = [&](int source, int target) -> Collective::Piece {
        int kind = (source * 5 + target * 3 + k) % 4;
        if (kind == 0) return {};
        if (kind == 1) return {size_t(64 * target), 1000 + size_t(k % 7), 0, 1};
        return {size_t(8 * target), 200, 700, size_t(kind + 2)};
      };
      for (int r = 0; r < n; r++) to[size_t(r)] = piece(me, r), from[size_t(r)] = piece(r, me);
      for (size_t i = 0; i < kBytes; i++) group->window()[i] = pattern(me, k, i);
      sleep_sometimes(random, 400);
      group->exchange(to, from);
      sleep_sometimes(random, 400);
      for (int r = 0; r < n; r++) {
        const auto& p = r == me ? Collective::Piece{0, kBytes, 0, 1} : from[size_t(r)];
        bool same = true;
        for (size_t run = 0; run < p.count; run++)
          for (size_t i = p.offset + run * p.stride, end = i + p.bytes; i < end; i++)
            same &= group->shown(r)[i] == pattern(r, k, i);
        ranks.check(same, fmt::format("exchange {} over {}: what rank {} showed", k, group->transport(), r));
      }
    }
    if (ranks.world.rank() == 0) std::printf("       transport %s\n", group->transport());
  });
}

void channels(Ranks& ranks, Fabric& fabric, const std::string& how, int count) {
  if (ranks.world.size() == 1) return;
  int n = ranks.world.size(), me = ranks.world.rank();
  ranks.test("a ring of channels " + how, [&] {
    constexpr size_t kBytes = 70'000;
    auto sender = fabric.sender((me + 1) % n, kBytes, 3);
    auto receiver = fabric.receiver((me + n - 1) % n, kBytes, 3);
    std::mt19937 mine(5), naps(static_cast<unsigned>(me));
    std::vector<std::byte> out(kBytes), in(kBytes);
    for (int k = 0; k < count; k++) {
      size_t bytes = k % 50 == 0 ? mine() % kBytes : mine() % 3000;
      for (size_t i = 0; i < bytes; i++) out[i] = pattern(me, k, i);
      sender->send({out.data(), bytes});
      std::fill(out.begin(), out.begin() + static_cast<ptrdiff_t>(bytes), std::byte{0});
      sleep_sometimes(naps, 300);
      receiver->receive({in.data(), bytes});
      bool same = true;
      for (size_t i = 0; i < bytes; i++) same &= in[i] == pattern((me + n - 1) % n, k, i);
      ranks.check(same, fmt::format("message {} of {} bytes from rank {}", k, bytes, (me + n - 1) % n));
    }
    ranks.world.barrier();
  });
}

// The sum of one unit at one element: magnitudes far apart, so that another order would give other bits.
float unit_sum(int unit, int64_t element) {
  std::minstd_rand random(static_cast<unsigned>(unit * 7919 + element * 104729 + 1));
  random.discard(3);
  float value = static_cast<float>(random() % 20001) - 10000.0f;
  return std::ldexp(value, static_cast<int>(random() % 24) - 12);
}

float tree_sum(UnitRange range, int64_t element) {
  if (range.size() == 1) return unit_sum(range.begin, element);
  int middle = range.begin + (range.size() + 1) / 2;
  return tree_sum({range.begin, middle}, element) + tree_sum({middle, range.end}, element);
}

std::vector<UnitRange> ranges_of(const std::vector<int>& borders) {
  std::vector<UnitRange> held;
  for (size_t r = 0; r + 1 < borders.size(); r++) held.push_back({borders[r], borders[r + 1]});
  return held;
}

// All ways to cut [0, units) into n ranges.
void for_each_cut(int units, int n, std::vector<int>& borders,
                  const std::function<void(const std::vector<UnitRange>&)>& f) {
  int left = n - static_cast<int>(borders.size());
  if (left == 0) {
    borders.push_back(units);
    f(ranges_of(borders));
    borders.pop_back();
    return;
  }
  for (int b = borders.back() + 1; b <= units - left; b++) {
    borders.push_back(b);
    for_each_cut(units, n, borders, f);
    borders.pop_back();
  }
}

class ReduceCheck {
 public:
  ReduceCheck(Ranks& ranks, Collective& group) : ranks_(ranks), group_(group), device_(group.rank() % 2 + 1, {}) {
    kernels_.tree_combine = scalar_tree_combine;
  }

  void operator()(int units, const std::vector<UnitRange>& held, int64_t rows, int64_t columns, unsigned sleep_one_in) {
    TreeReduce reduce(group_, device_, kernels_, units, held, columns, rows);
    for (int round = 0; round < 2; round++) {
      auto roots = maximal_nodes(units, held[static_cast<size_t>(group_.rank())]);
      for (size_t i = 0; i < roots.size(); i++)
        for (int64_t e = 0; e < rows * columns; e++)
          reduce.roots()[static_cast<int64_t>(i) * reduce.root_stride(rows) + e] = tree_sum(roots[i], e + round);
      int64_t stride = columns + 5;
      std::vector<float> memory(static_cast<size_t>(rows * stride), 0.37f);
      if (sleep_one_in) sleep_sometimes(random_, sleep_one_in);
      reduce.add_to({memory.data(), rows, columns, stride});
      bool same = true;
      for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < stride; j++) {
          float expected = j < columns ? 0.37f + tree_sum({0, units}, i * columns + j + round) : 0.37f;
          same &= std::memcmp(&expected, &memory[static_cast<size_t>(i * stride + j)], sizeof expected) == 0;
        }
      ranks_.check(same, fmt::format("bits of {} units, {} rows over {}", units, rows, group_.transport()));
    }
  }

 private:
  Ranks& ranks_;
  Collective& group_;
  CpuDevice device_;
  Kernels kernels_;
  std::mt19937 random_{static_cast<unsigned>(group_.rank())};
};

void tree_reduces(Ranks& ranks, Fabric& fabric, const std::string& how, bool every_cut) {
  int n = ranks.world.size();
  ranks.test("tree reduce gives the bits of one rank " + how, [&] {
    auto group = fabric.collective(everyone(ranks.world), size_t{8} << 20);
    ReduceCheck check(ranks, *group);
    std::vector<int> start{0};
    for (int units : {n, 9})
      if (every_cut && units >= n)
        for_each_cut(units, n, start, [&](const auto& held) { check(units, held, 2, 24, 20); });
    std::vector<int> borders;
    for (int r = 0; r <= n; r++) borders.push_back(32 * r / n);
    for (int64_t rows : {1, 7, 64}) check(32, ranges_of(borders), rows, 640, 0);  // the last by slices
    if (n <= 9) {
      for (int r = 0; r <= n; r++) borders[static_cast<size_t>(r)] = 9 * r / n;
      check(9, ranges_of(borders), 61, 576, 0);
    }
  });
}

// What a group does before its next exchange must not reach a slow reader of the last one.
void slow_reader(Ranks& ranks, Fabric& fabric) {
  ranks.test("a slow reader keeps what it was shown", [&] {
    auto group = fabric.collective(everyone(ranks.world), 64);
    std::vector<Collective::Piece> all(static_cast<size_t>(group->size()), {0, 64, 0, 1});
    for (int k = 0; k < 20; k++) {
      std::memset(group->window(), k * 8 + group->rank(), 64);
      group->exchange(all, all);
      std::memset(group->window(), 255, 64);
      if (group->rank() == k % group->size()) usleep(2000);
      for (int r = 0; r < group->size(); r++)
        ranks.check(group->shown(r)[63] == std::byte(k * 8 + r), fmt::format("window of rank {}", r));
    }
  });
}

// Ranks 0 and 1, 2 and 3, and so on; a last one without a neighbour looks on.
void link_probes(Ranks& ranks, Fabric& fabric, const std::string& how) {
  ranks.test("latency and bandwidth of links, " + how, [&] {
    const int me = ranks.world.rank(), peer = me ^ 1;
    std::optional<LinkProbe> probe;
    if (peer < ranks.world.size())
      probe.emplace(fabric, me, peer, ProbeEffort{.bytes = 4096, .round_trips = 3, .messages = 5, .samples = 4});
    for (int again = 0; probe && again < 2; again++) {
      const LinkFigures figures = probe->through_host();
      ranks.check(figures.latency_us > 0 && figures.gbps > 0, "figures that can be");
      ranks.check(probe->transport() == std::string(fabric.shares_memory(peer) ? "shm" : "ucx"), "transport");
    }
    ranks.world.barrier();
  });
}

// The last rank has no descriptor left for its shared window.
void failing_window(Ranks& ranks, Fabric& fabric) {
  const int last = ranks.world.size() - 1;
  std::vector<int> members(static_cast<size_t>(ranks.world.size()));
  std::iota(members.begin(), members.end(), 0);
  ranks.test("a fault of one when a group is formed ends all with its words and its code", [&] {
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{0, before.rlim_max};
    if (ranks.world.rank() == last) setrlimit(RLIMIT_NOFILE, &none);
    ExitCode code = ExitCode::done;
    std::string said;
    try {
      fabric.collective(members, 64);
    } catch (const Error& error) {
      code = error.code(), said = error.what();
    }
    setrlimit(RLIMIT_NOFILE, &before);
    ranks.check(code == ExitCode::cannot_create, fmt::format("73, not {}", static_cast<int>(code)));
    ranks.check(said.find(fmt::format("rank {}: cannot create", last)) != said.npos, "said: " + said);
  });
}

}  // namespace

int main(int argc, char** argv) {
  return run_ranks(argc, argv, std::chrono::seconds(60), [](Ranks& ranks) {
    control_plane(ranks);
    bool one_host = true;
    {
      auto fabric = Fabric::create(ranks.world);
      ranks.test("memory is shared with oneself, and the domain is the lowest such rank", [&] {
        ranks.check(fabric->shares_memory(ranks.world.rank()), "self");
        ranks.check(fabric->shares_memory(fabric->domain()), "domain");
      });
      for (int r = 0; r < ranks.world.size(); r++) one_host = one_host && fabric->shares_memory(r);
      exchanges(ranks, *fabric, "as the fabric finds it", 3000);
      slow_reader(ranks, *fabric);
      channels(ranks, *fabric, "as the fabric finds it", 2000);
      link_probes(ranks, *fabric, "as the fabric finds it");
      tree_reduces(ranks, *fabric, "as the fabric finds it", true);
    }
    if (ranks.world.all_min(one_host) == 0) return;
    if (ranks.world.size() > 1) failing_window(ranks, *Fabric::create(ranks.world));
    for (int host_ranks : {1, 2}) {
      if (host_ranks >= ranks.world.size()) continue;
      std::string how = fmt::format("on pretended hosts of {}", host_ranks);
      auto fabric = Fabric::create(ranks.world, host_ranks);
      exchanges(ranks, *fabric, how, 400);
      slow_reader(ranks, *fabric);
      channels(ranks, *fabric, how, 300);
      link_probes(ranks, *fabric, how);
      tree_reduces(ranks, *fabric, how, false);
    }
  });
}
