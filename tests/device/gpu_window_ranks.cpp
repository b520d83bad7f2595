// Where the windows of a group on an emulated GPU come to lie: on the device where its ranks prove that they reach each
// other's memory, else in the host's, also where what they open is not what the other has. And how fast that memory is
// reached.
#include <cstdlib>
#include <cstring>

#include "comm/collective.h"
#include "comm/link_probe.h"
#include "device/cuda.h"
#include "device/pinned_vector.h"
#include "tests/comm/ranks.h"

using namespace trireme;
using namespace trireme::testing;

namespace {

// By the device, for either place: my rank to all, all ranks from the others.
void show(Ranks& ranks, Collective& group, Device& device) {
  const std::vector<Collective::Piece> all(static_cast<size_t>(group.size()), Collective::Piece{0, sizeof(int), 0, 1});
  PinnedVector<int> values(device, static_cast<size_t>(group.size()), "ranks");
  values.resize(static_cast<size_t>(group.size()));
  for (int turn = 0; turn < 3; turn++) {
    values[0] = group.rank() + 10 * turn;
    device.copy(group.window(), values.data(), sizeof(int));
    device.synchronize();
    group.exchange(all, all);
    for (int r = 0; r < group.size(); r++) device.copy(&values[static_cast<size_t>(r)], group.shown(r), sizeof(int));
    device.synchronize();
    for (int r = 0; r < group.size(); r++)
      ranks.check(values[static_cast<size_t>(r)] == r + 10 * turn, "what another rank showed");
  }
}

// Ranks 0 and 1, 2 and 3, and so on.
void probes(Ranks& ranks, Fabric& fabric, Device& device) {
  const int me = ranks.world.rank(), peer = me ^ 1;
  if (peer >= ranks.world.size()) return;
  LinkProbe probe(fabric, me, peer, {.bytes = 4096, .round_trips = 3, .messages = 2, .samples = 2});
  const auto reached = [&](const char* setting) {
    if (setting) setenv(setting, "1", 1);
    const std::optional<LinkFigures> figures = probe.through_devices(device);
    if (setting) unsetenv(setting);
    if (figures) ranks.check(figures->latency_us > 0 && figures->gbps > 0, "figures that can be");
    return figures.has_value();
  };
  ranks.check(reached(nullptr), "they do");
  ranks.check(!reached("TRIREME_EMULATED_GPU_ALONE"), "a device that opens nothing");
  ranks.check(!reached("TRIREME_EMULATED_GPU_OPENS_ELSEWHERE"), "a device that opens other memory");
  ranks.check(reached(nullptr), "they do again");
}

}  // namespace

int main(int argc, char** argv) {
  return run_ranks(argc, argv, std::chrono::seconds(20), [&](Ranks& ranks) {
    auto fabric = Fabric::create(ranks.world);
    std::vector<int> members;
    for (int r = 0; r < ranks.world.size(); r++) members.push_back(r);
    auto gpu = CudaDevice::open(0, std::chrono::seconds(20));
    auto placed = [&](const char* setting, const std::string& where, const char* value = "1") {
      if (setting && ranks.world.rank() == 0) setenv(setting, value, 1);  // one that does not reach is enough
      auto group = fabric->collective(members, 1 << 16);
      group->place_windows(*gpu);
      if (setting) unsetenv(setting);
      ranks.check(group->transport() == where, std::string("it is ") + group->transport());
      show(ranks, *group, *gpu);
    };
    ranks.test("GPUs that reach each other's memory", [&] { placed(nullptr, "device"); });
    ranks.test("a GPU that does not", [&] { placed("TRIREME_EMULATED_GPU_ALONE", "shm"); });
    ranks.test("a GPU that opens other memory", [&] {
      placed("TRIREME_EMULATED_GPU_OPENS_ELSEWHERE",
             "shm (what a GPU opened of another's memory was not what that one wrote)");
    });
    ranks.test("a GPU whose writes do not arrive", [&] {
      placed("TRIREME_EMULATED_GPU_OPENS_ELSEWHERE", "shm (what a GPU wrote to another's memory did not arrive there)",
             "2");
    });
    ranks.test("a GPU without room for windows", [&] {
      const Buffer rest = gpu->allocate(static_cast<size_t>(gpu->available_bytes()), "all that is left");
      auto group = fabric->collective(members, 1 << 16);
      try {
        group->place_windows(*gpu);
        ranks.check(false, "they had room");
      } catch (const Error& error) {
        ranks.check(error.code() == ExitCode::out_of_memory, error.what());
      }
    });
    ranks.test("copies between neighbours' memory, where they reach it", [&] { probes(ranks, *fabric, *gpu); });
  });
}
