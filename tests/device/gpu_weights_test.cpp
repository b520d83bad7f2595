#include <doctest/doctest.h>
#include <sched.h>
#include <sys/resource.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "device/cpu_device.h"
#include "device/cuda.h"
#include "model/shapes.h"
#include "model/synthetic_weights.h"
#include "model/weight_loader.h"
#include "model/weights.h"
#include "testkit/f16_weights.h"

using namespace trireme;

namespace {

// Matrices of several pieces: the embedding's 1248 rows a unit end inside a panel of the packed matrix, where a half of
// the staging memory may end, too.
ModelConfig small(int layers) {
  ModelConfig c = get_shape("smollm2-135m").config();
  c.num_layers = layers, c.vocab_size = 39900, c.intermediate_size = 8000;
  c.layer_ropes.resize(static_cast<size_t>(layers)), c.layer_windows.resize(static_cast<size_t>(layers));
  return c;
}

// All bytes of a rank's weights, the first of which are the embedding's.
std::string bytes_of(const StageWeights& weights, Device& device) {
  const Buffer seen = device.allocate_pinned(weights.bytes(), "a look at the weights");
  device.copy(seen.data(), weights.embedding.data, weights.bytes());
  device.synchronize();
  return {seen.as<char>(), seen.bytes()};
}

rlim_t data_bytes() {  // private memory that this process may write
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmData:")) return std::strtoull(line.c_str() + 7, nullptr, 10) << 10;
  return 0;
}

}  // namespace

TEST_CASE("weights that pass to a GPU in pieces are the bytes that a CPU packs in their place") {
  auto gpu = CudaDevice::open(0, std::chrono::seconds(60));
  CpuDevice cpu(1, {});
  std::vector<std::unique_ptr<WeightSource>> sources;
  for (WeightChoice choice :
       {WeightChoice::bf16, WeightChoice::fp32, WeightChoice::int8, WeightChoice::int4, WeightChoice::fp8})
    sources.push_back(std::make_unique<SyntheticWeights>("small", small(1), choice));
  sources.push_back(std::make_unique<testing::F16Weights>("small", small(1)));
  for (const auto& source : sources) {
    const ModelConfig config = ModelConfig::from_json(source->config(), source->path());
    const UnitTable units = UnitTable::of(config, row_parallel_group(*source));
    for (Packing packing :
         {Packing(Numerics::standard), Packing(Numerics::standard, {.e4m3 = true}),
          Packing(Numerics::standard, {.f16 = true}), Packing(Numerics::exact), Packing(Numerics::fast)})
      for (StagePlace place : {StagePlace{1, 0, 0, 1}, StagePlace{3, 1, 0, 1}}) {
        CAPTURE(format_name(source->get_tensor("layers.0.mlp.gate").format));
        CAPTURE(static_cast<int>(packing.numerics));
        CAPTURE(packing.inputs.e4m3);
        CAPTURE(packing.inputs.f16);
        CAPTURE(place.tp);
        const StageWeights packed(*source, config, units, place, packing, cpu);
        const StageWeights passed(*source, config, units, place, packing, *gpu);
        CHECK((bytes_of(packed, cpu) == bytes_of(passed, *gpu)));
      }
  }
}

TEST_CASE("a GPU's weights take no more of the host's memory than their way to it") {
  cpu_set_t two;
  CPU_ZERO(&two);
  for (int cpu : allowed_cpus())
    if (CPU_COUNT(&two) < 2) CPU_SET(cpu, &two);
  REQUIRE(sched_setaffinity(0, sizeof two, &two) == 0);  // made-up weights have a thread for each

  const SyntheticWeights source("small", small(12), WeightChoice::bf16);
  const ModelConfig config = ModelConfig::from_json(source.config(), source.path());
  const UnitTable units = UnitTable::of(config, row_parallel_group(source));
  auto gpu = CudaDevice::open(0, std::chrono::seconds(60));
  const size_t room = kWeightStaging + (size_t{64} << 20);  // and stacks, tables, the library's
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_DATA, &before) == 0);
  const rlimit narrow{data_bytes() + room, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_DATA, &narrow) == 0);
  size_t held = 0;
  std::string refused;
  try {
    const StageWeights weights(source, config, units, {1, 0, 0, 12}, Numerics::standard, *gpu);
    held = weights.bytes();
    Buffer too_much(2 * held, "a test");
  } catch (const Error& e) {
    refused = e.what();
  }
  REQUIRE(setrlimit(RLIMIT_DATA, &before) == 0);
  CHECK(held > 2 * room);
  CHECK(refused.find("MiB for a test") != std::string::npos);  // the limit limits
}
