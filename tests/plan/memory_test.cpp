#include "plan/memory.h"

#include <doctest/doctest.h>

#include "model/shapes.h"
#include "model/synthetic_weights.h"
#include "testkit/f16_weights.h"

using namespace trireme;

namespace {

constexpr int64_t kHidden = 4096, kIntermediate = 14336, kLayers = 32, kHeadDim = 128;
// Norms of a layer and the last one, FP32, on every rank.
constexpr int64_t kNorms = (2 * kLayers + 1) * kHidden * 4;

// Llama 3.1 8B by hand: BF16, a rank with these heads, columns and rows of the vocabulary.
constexpr int64_t bytes_8b(int64_t heads, int64_t kv_heads, int64_t columns, int64_t rows) {
  const int64_t attention = 2 * (heads + kv_heads) * kHeadDim * kHidden;
  return 2 * (kLayers * (attention + 3 * columns * kHidden) + 2 * rows * kHidden) + kNorms;
}

ModelWork llama_8b(Precision precision, const EngineProfile& profile) {
  return ModelWork("8b", get_shape("llama-3.1-8b").config(), precision, 2, profile);
}

constexpr double kContext = 8192;

MemoryPlan memory_of(const ModelWork& model, const EngineProfile& profile, const char* machine, int tp, int pp,
                     double context = kContext) {
  return plan_memory(model, model.stages(tp, pp), profile, Cluster::parse(machine), 256, context);
}

}  // namespace

TEST_CASE("weights of the fullest rank are what arithmetic by hand gives") {
  const EngineProfile profile = get_engine_profile("published");
  const ModelWork model = llama_8b(Precision::bf16, profile);
  CHECK(model.parameters() == doctest::Approx(8030261248).epsilon(1e-4));
  // 32 units of 4032 rows cover the vocabulary of 128256: a half is 64512 rows.
  CHECK(model.stages(1, 1)[0].weight_bytes == bytes_8b(32, 8, kIntermediate, 128256));
  CHECK(model.stages(2, 1)[0].weight_bytes == bytes_8b(16, 4, kIntermediate / 2, 64512));
  CHECK(model.stages(4, 1)[0].weight_bytes == bytes_8b(8, 2, kIntermediate / 4, 32256));
  CHECK(model.stages(8, 1)[0].weight_bytes == bytes_8b(4, 1, kIntermediate / 8, 16128));
  // Past the 8 KV heads, two ranks hold one: 17 GB / 16 is not reached.
  CHECK(model.stages(16, 1)[0].weight_bytes == bytes_8b(2, 1, kIntermediate / 16, 8064));
}

TEST_CASE("stages hold their layers, the first the embedding, the last the head") {
  const EngineProfile profile = get_engine_profile("published");
  const ModelWork model = llama_8b(Precision::bf16, profile);
  const std::vector<StageWork> stages = model.stages(1, 3);  // 11, 11, 10 layers
  CHECK(stages[0].layers == 11);
  CHECK(stages[2].layers == 10);
  const double layer = stages[1].weight_bytes / 11, embedding = 2.0 * 128256 * kHidden;
  CHECK(stages[0].weight_bytes == doctest::Approx(11 * layer + embedding).epsilon(1e-9));
  CHECK(stages[2].weight_bytes == doctest::Approx(10 * layer + embedding + 4 * kHidden).epsilon(1e-9));
  CHECK(stages[1].head_bytes == 0);
  int end = 0;
  for (const StageWork& stage : model.stages(3, 9)) {  // five of 4 layers, four of 3
    CHECK(stage.place.first_layer == end);
    end = stage.place.end_layer;
    CHECK(stage.layers == end - stage.place.first_layer);
    CHECK(stage.layer_bytes == doctest::Approx(stage.layers * model.stages(3, 1)[0].layer_bytes / 32).epsilon(1e-9));
    CHECK((stage.head_bytes > 0) == stage.place.last);
  }
  CHECK(end == 32);
}

TEST_CASE("keys and values follow the heads, and are held twice where TP exceeds them") {
  const EngineProfile profile = get_engine_profile("published");
  const ModelWork model = llama_8b(Precision::bf16, profile);
  CHECK(memory_of(model, profile, "8 h100", 1, 1).sequence_bytes == kContext * 131072);
  CHECK(memory_of(model, profile, "8 h100", 8, 1).sequence_bytes == kContext * 131072 / 8);
  CHECK(memory_of(model, profile, "2 hosts x 8 h100", 16, 1).sequence_bytes == kContext * 131072 / 8);
  CHECK(memory_of(model, profile, "8 h100", 1, 2).sequence_bytes == kContext * 131072 / 2);
  const ModelWork small("8b", get_shape("llama-3.1-8b").config(), Precision::fp8, 1, profile);
  CHECK(memory_of(small, profile, "8 h100", 1, 1).sequence_bytes == kContext * 131072 / 2);
}

TEST_CASE("of this engine, weights are the bytes that it packs") {
  const EngineProfile own = get_engine_profile("trireme");
  const ModelConfig config = get_shape("llama-3.2-1b").config();
  const std::pair<Precision, WeightChoice> formats[] = {{Precision::bf16, WeightChoice::bf16},
                                                        {Precision::fp8, WeightChoice::fp8},
                                                        {Precision::int8, WeightChoice::int8},
                                                        {Precision::int4, WeightChoice::int4}};
  for (auto [precision, choice] : formats) {
    CAPTURE(precision_name(precision));
    const ModelWork model("1b", config, precision, 2, own);
    const SyntheticWeights source("1b", config, choice);
    const UnitTable units = UnitTable::of(config, row_parallel_group(source));
    for (int tp : {1, 2, 3, 8}) {
      CAPTURE(tp);
      double fullest = 0;
      for (int r = 0; r < tp; r++)
        fullest = std::max(fullest,
                           static_cast<double>(StageWeights::packed_bytes_of(
                               source, config, units, {tp, r, 0, config.num_layers, true, true}, Numerics::standard)));
      // A tied head is one matrix; nothing else differs.
      CHECK(model.stages(tp, 1)[0].weight_bytes == doctest::Approx(fullest).epsilon(1e-6));
    }
  }
}

TEST_CASE("a checkpoint in FP16 is held in two bytes a weight, in every mode, and planned so") {
  const ModelConfig config = get_shape("llama-3.2-1b").config();
  const SyntheticWeights bf16("1b", config, WeightChoice::bf16);
  const testing::F16Weights f16("1b", config);
  const UnitTable units = UnitTable::of(config, row_parallel_group(f16));
  const auto bytes = [&](const WeightSource& source, const StagePlace& place, Numerics numerics) {
    return StageWeights::packed_bytes_of(source, config, units, place, numerics);
  };
  for (const StagePlace& place : {StagePlace{1, 0, 0, config.num_layers, true, true},
                                  {3, 1, 0, config.num_layers, true, true},
                                  {2, 1, 5, 9, false, false}})
    for (Numerics numerics : {Numerics::exact, Numerics::standard, Numerics::fast})
      CHECK(bytes(f16, place, numerics) == bytes(bf16, place, Numerics::standard));
  const ModelWork model(f16, config, 2), same(bf16, config, 2);
  CHECK(model.bits() == same.bits());
  CHECK(model.bits() == doctest::Approx(16).epsilon(1e-3));  // norms are FP32
  CHECK(model.precision() == Precision::bf16);
  CHECK(model.stages(2, 1)[0].weight_bytes == same.stages(2, 1)[0].weight_bytes);
}

TEST_CASE("a device's memory is shared out once") {
  const EngineProfile profile = get_engine_profile("published");
  const ModelWork model("70b", get_shape("llama-3.1-70b").config(), Precision::bf16, 2, profile);
  const MemoryPlan none = memory_of(model, profile, "8 h100", 1, 1);
  CHECK(!none.weights_fit());
  CHECK(none.sequences() == 0);
  const MemoryPlan m = memory_of(model, profile, "8 h100", 4, 1);
  REQUIRE(m.weights_fit());
  CHECK(m.weight_bytes + m.workspace_bytes + m.margin_bytes + m.cache_bytes == doctest::Approx(m.device_bytes));
  CHECK(m.sequences() == m.cache_bytes / m.sequence_bytes);
  CHECK(memory_of(model, profile, "8 h200", 4, 1).sequences() > m.sequences());
}

TEST_CASE("of layers with a window other engines keep the window, this one keeps all") {
  const EngineProfile published = get_engine_profile("published"), own = get_engine_profile("trireme");
  ModelConfig config = get_shape("llama-3.1-8b").config();
  for (size_t i = 0; i < config.layer_windows.size(); i++)
    if (i % 4 != 3) config.layer_windows[i] = 1024;
  const auto memory = [&](const EngineProfile& profile, double context, bool chunked = false) {
    const ModelWork model("8b", config, Precision::bf16, 2, profile, 0, chunked);
    return memory_of(model, profile, "8 h100", 1, 1, context);
  };
  constexpr double kLayer = 131072 / 32;  // bytes of a position
  const MemoryPlan kept = memory(published, 8192), all = memory(own, 8192);
  CHECK(kept.sequence_bytes == (24 * 1024 + 8 * 8192) * kLayer);
  CHECK(all.sequence_bytes == 8192 * 131072);
  // While a step computes a prompt, its rows are there in all layers: 8192 of them, less what the window keeps.
  CHECK(kept.workspace_bytes == doctest::Approx(published.workspace_bytes + 24 * (8192 - 1024) * kLayer));
  for (const EngineProfile* profile : {&published, &own}) {
    CHECK(memory(*profile, 1024).sequence_bytes == 1024 * 131072);  // all of it is in the window
    CHECK(memory(*profile, 1024).workspace_bytes == memory(*profile, 64).workspace_bytes);
  }
  CHECK(memory(published, 8192, true).sequence_bytes == all.sequence_bytes);  // chunks
}
