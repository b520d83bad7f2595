// In Stage::forward and below nothing is allocated or locked, and no system call is made (waiting for another rank
// excepted). Run by mpirun on 1 rank, where nobody waits, and on several.
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "comm/collective.h"
#include "device/cpu_device.h"
#include "kernels/select.h"
#include "model/import.h"
#include "model/stage.h"
#include "testkit/hot_path.h"
#include "testkit/temp_folder.h"
#include "testkit/tiny_model.h"

using namespace trireme;

namespace {

std::string make_checkpoint(const std::string& folder, const std::string& type, int rank) {
  testkit::TinyModel tiny{.layers = 3,
                          .heads = 9,
                          .kv_heads = 3,
                          .head_dim = 32,
                          .hidden = 288,
                          .intermediate = 416,
                          .type = type,
                          .tied = true};
  const std::string gguf = folder + "/tiny" + std::to_string(rank) + ".gguf", checkpoint = gguf + ".h5";
  std::ofstream(gguf, std::ios::binary) << tiny.writer().build();
  convert_model(gguf, checkpoint, WriterGroup::self());
  return checkpoint;
}

// Counts of one prefill chunk and one decode step, after one of each to warm up. Returns the number of faults.
int watch(const Communicator& world, Fabric& fabric, const std::string& checkpoint_path, bool exact,
          std::string_view level) {
  const Checkpoint checkpoint(checkpoint_path);
  const ModelConfig config = ModelConfig::from_json(checkpoint.config(), checkpoint_path);
  const UnitTable units = UnitTable::of(config, row_parallel_group(checkpoint));
  const StepLimits limits{48, 8, 8};
  const StagePlace place{world.size(), world.rank(), 0, config.num_layers, true, true};
  const RankShare share = RankShare::of(config, units, world.size(), world.rank());
  CpuDevice device(1, {});
  const Kernels kernels = select_kernels(level);
  const StageWeights weights(checkpoint, config, units, place, exact ? Numerics::exact : Numerics::standard, device);
  std::vector<Rope> ropes;
  for (const RopeConfig& rope : config.ropes) ropes.emplace_back(rope, 128);
  const KvCache cache(device, config.num_layers, share.num_kv_heads, config.head_dim, exact ? DType::f32 : DType::bf16,
                      4);
  std::vector<int> members;
  for (int r = 0; r < world.size(); r++) members.push_back(r);
  auto group = fabric.collective(members, Stage::window_bytes(config, units, world.size(), limits));
  Stage stage(config, units, place, weights, cache, ropes, *group, device, kernels, limits);

  std::vector<float> residual(static_cast<size_t>(limits.rows * config.hidden_size));
  const std::vector<int32_t> block_table{0, 1, 2, 3};
  std::vector<int32_t> tokens, positions;
  std::vector<int64_t> slots;
  auto forward = [&](int32_t first, int32_t rows, bool watched) {
    tokens.clear(), positions.clear(), slots.clear();
    for (int32_t i = 0; i < rows; i++)
      tokens.push_back((first + i) % 200), positions.push_back(first + i), slots.push_back(first + i);
    const AttentionSpan span{0, rows, first, block_table.data()};
    const StepBatch batch{tokens, positions, slots, {&span, 1}};
    const MatrixView<float> x(residual.data(), rows, config.hidden_size);
    if (watched) testkit::start_watching(world.size() == 1);
    stage.prepare(tokens);
    stage.forward(batch, x);
    return watched ? testkit::stop_watching() : testkit::HotPathCounts{};
  };
  forward(0, 40, false);
  forward(40, 1, false);
  int faults = 0;
  for (int32_t rows : {40, 1}) {
    const double waited_before = world.waiter().waited_seconds();
    const auto c = forward(rows == 40 ? 0 : 41, rows, true);
    std::printf("rank %d, %s, %s, %d rows: %ld allocations, %ld locks, %ld system calls\n", world.rank(), level.data(),
                exact ? "exact" : "standard", rows, c.allocations, c.locks, c.system_calls);
    if (c.system_calls) std::printf("FAILED: system call %ld\n", c.first_system_call);
    // A wait lets MPI and UCX make progress, in their own ways.
    const bool waited = world.waiter().waited_seconds() > waited_before;
    faults += c.system_calls != 0 || (!waited && (c.allocations != 0 || c.locks != 0));
  }
  return faults;
}

}  // namespace

int main(int argc, char** argv) {
  MpiSession mpi(&argc, &argv);
  Waiter waiter(std::chrono::seconds(60));
  Communicator world = Communicator::world(waiter);
  int64_t faults = 0;
  {
    auto fabric = Fabric::create(world);
    const testkit::TempFolder folder;
    // The counters count: one that cannot rise would prove nothing.
    testkit::start_watching(false);
    auto* planted = new std::vector<int>(1);
    const auto counted = testkit::stop_watching();
    delete planted;
    faults += counted.allocations < 2;
    if (!testkit::can_watch_system_calls())
      std::printf("skipped: system calls, this kernel has no syscall user dispatch\n");
    if (world.size() == 1) {
      testkit::start_watching(true);
      (void)getppid();
      faults += testkit::stop_watching().system_calls != 1;
    }
    for (const char* type : {"q4_1", "bf16"})
      for (bool exact : {false, true})
        for (std::string_view level : available_levels())
          faults += watch(world, *fabric, make_checkpoint(folder.path().string(), type, world.rank()), exact, level);
  }
  faults = world.all_sum(faults);
  if (world.rank() == 0) std::printf(faults ? "FAILED\n" : "nothing allocated, locked or called\n");
  return faults ? 1 : 0;
}
