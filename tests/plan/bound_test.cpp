#include "plan/bound.h"

#include <doctest/doctest.h>

#include <string>

#include "model/shapes.h"

using namespace trireme;

namespace {

struct Row {
  const char *machine, *shape;
  Precision precision;
  int tp;
  double sequences, tokens;  // in flight at position 2048; or of a prompt
  double ms;
  double rounding;  // of the figure as printed
};

// The arithmetic of limits.md, sections 7a and 7b: data sheets, and all-reduces as they were measured.
constexpr Row kDecode[] = {
    {"8 a100-80gb", "llama-3.1-8b", Precision::bf16, 1, 1, 0, 7.49, 0.005},
    {"8 a100-80gb", "llama-3.1-8b", Precision::bf16, 2, 1, 0, 4.09, 0.005},
    {"8 a100-80gb", "llama-3.1-8b", Precision::bf16, 8, 16, 0, 1.91, 0.005},
    {"8 a100-80gb", "llama-3.1-70b", Precision::bf16, 1, 1, 0, 68.5, 0.05},
    {"8 a100-80gb", "llama-3.1-70b", Precision::bf16, 8, 16, 0, 11.9, 0.05},
    {"8 h100", "llama-3.1-8b", Precision::bf16, 4, 1, 0, 1.32, 0.005},
    {"8 h100", "llama-3.1-70b", Precision::bf16, 8, 1, 0, 5.80, 0.005},
    {"8 h100", "llama-3.1-70b", Precision::bf16, 8, 16, 0, 7.09, 0.005},
    {"8 h100", "llama-3.1-405b", Precision::bf16, 8, 1, 0, 31.2, 0.05},
    {"8 h100", "llama-3.1-8b", Precision::fp8, 8, 16, 0, 0.85, 0.005},
    {"8 h100", "llama-3.1-70b", Precision::fp8, 2, 16, 0, 12.6, 0.05},
    {"8 h100", "llama-3.1-70b", Precision::fp8, 8, 16, 0, 4.50, 0.005},
    {"8 h100", "llama-3.1-405b", Precision::fp8, 8, 16, 0, 18.4, 0.05},
    {"8 h200", "llama-3.1-70b", Precision::fp8, 4, 16, 0, 5.06, 0.005},
    {"8 h200", "llama-3.1-405b", Precision::fp8, 8, 1, 0, 11.6, 0.05},
    {"8 h200", "llama-3.1-70b", Precision::bf16, 2, 16, 0, 16.2, 0.05},
    {"8 b200", "llama-3.1-8b", Precision::fp8, 8, 16, 0, 0.61, 0.005},
    {"8 b200", "llama-3.1-70b", Precision::fp8, 2, 1, 0, 5.38, 0.005},
    {"8 b200", "llama-3.1-405b", Precision::fp8, 8, 16, 0, 9.58, 0.005},
    {"8 b200", "llama-3.1-70b", Precision::fp4, 1, 1, 0, 5.16, 0.005},
    {"8 b200", "llama-3.1-70b", Precision::fp4, 8, 16, 0, 2.03, 0.005},
    {"8 b200", "llama-3.1-405b", Precision::fp4, 4, 1, 0, 8.79, 0.005},
};
constexpr Row kPrefill[] = {
    {"8 a100-80gb", "llama-3.1-70b", Precision::bf16, 1, 1, 2048, 944, 0.5},
    {"8 a100-80gb", "llama-3.1-70b", Precision::bf16, 4, 1, 2048, 274, 0.5},
    {"8 a100-80gb", "llama-3.1-70b", Precision::bf16, 8, 1, 8192, 669, 0.5},
    {"8 h100", "llama-3.1-8b", Precision::bf16, 8, 1, 2048, 11, 0.5},
    {"8 h100", "llama-3.1-8b", Precision::bf16, 2, 1, 8192, 89, 0.5},
    {"8 h100", "llama-3.1-70b", Precision::bf16, 2, 1, 2048, 171, 0.5},
    {"8 h100", "llama-3.1-70b", Precision::fp8, 1, 1, 2048, 149, 0.5},
    {"8 h100", "llama-3.1-70b", Precision::fp8, 8, 1, 2048, 50, 0.5},
    {"8 h100", "llama-3.1-70b", Precision::fp8, 8, 1, 8192, 159, 0.5},
    {"8 h100", "llama-3.1-405b", Precision::fp8, 4, 1, 2048, 286, 0.5},
};

ModelWork work_of(const Row& row, const EngineProfile& profile) {
  return ModelWork(row.shape, get_shape(row.shape).config(), row.precision, 2, profile);
}

}  // namespace

TEST_CASE("decode bounds are those of the published arithmetic") {
  const EngineProfile profile = get_engine_profile("published");
  for (const Row& row : kDecode) {
    CAPTURE(row.machine);
    CAPTURE(row.shape);
    CAPTURE(row.tp);
    const ModelWork model = work_of(row, profile);
    const double ms = decode_bound(model, Cluster::parse(row.machine), row.tp, 1, row.sequences, 2048, 2).total_ms();
    CHECK(ms == doctest::Approx(row.ms).epsilon(row.rounding / row.ms + 0.003));
  }
}

TEST_CASE("prefill bounds are those of the published arithmetic") {
  const EngineProfile profile = get_engine_profile("published");
  for (const Row& row : kPrefill) {
    CAPTURE(row.machine);
    CAPTURE(row.shape);
    CAPTURE(row.tp);
    const ModelWork model = work_of(row, profile);
    const double ms = prefill_bound(model, Cluster::parse(row.machine), row.tp, 1, row.tokens, 2).total_ms();
    CHECK(ms == doctest::Approx(row.ms).epsilon(row.rounding / row.ms + 0.005));
  }
}

TEST_CASE("rows of a prompt see half of it, and of a window all but while it fills") {
  const EngineProfile profile = get_engine_profile("published");
  ModelConfig config = get_shape("llama-3.2-1b").config();
  const auto seen = [&](double tokens, bool chunked = false) {
    return ModelWork("1b", config, Precision::bf16, 2, profile, 0, chunked).seen_in_prompt(tokens);
  };
  CHECK(seen(8192) == 4096);
  config.layer_windows.assign(config.layer_windows.size(), 1024);
  CHECK(seen(1024) == 512);
  CHECK(seen(8192) == (512 + 7 * 1024) / 8.0);
  CHECK(seen(8192, true) == 512);  // chunks fill anew
  CHECK(seen(1536, true) == doctest::Approx((1024 * 512 + 512 * 256) / 1536.0));
}

TEST_CASE("a pipeline does not shorten a token's way") {
  const EngineProfile profile = get_engine_profile("published");
  const ModelWork model("70b", get_shape("llama-3.1-70b").config(), Precision::fp8, 2, profile);
  const Cluster cluster = Cluster::parse("8 h100");
  const LatencyBound alone = decode_bound(model, cluster, 2, 1, 1, 2048, 2),
                     staged = decode_bound(model, cluster, 2, 4, 1, 2048, 2);
  CHECK(staged.memory_ms == alone.memory_ms);
  CHECK(staged.hop_ms > 0);
  CHECK(alone.hop_ms == 0);
}

TEST_CASE("a stage on a part of a host may have the memory of the parts that wait for it") {
  const EngineProfile profile = get_engine_profile("published");
  const ModelWork model("1b", get_shape("llama-3.2-1b").config(), Precision::bf16, 2, profile);
  Cluster half = Cluster::parse("2 epyc-9654");
  half.device.share = 0.5;
  CHECK(decode_bound(model, half, 1, 2, 1, 2048, 2).memory_ms ==
        decode_bound(model, half, 1, 1, 1, 2048, 2).memory_ms / 2);
  CHECK(decode_bound(model, half, 1, 4, 1, 2048, 2).memory_ms == decode_bound(model, half, 1, 2, 1, 2048, 2).memory_ms);
}

TEST_CASE("partial sums of 4 bytes move twice the bytes, and the weights are computed by the units that there are") {
  const EngineProfile profile = get_engine_profile("published");
  const ModelWork model("70b", get_shape("llama-3.1-70b").config(), Precision::fp8, 2, profile);
  const Cluster h100 = Cluster::parse("8 h100"), a100 = Cluster::parse("8 a100-80gb");
  CHECK(decode_bound(model, h100, 8, 1, 64, 2048, 4).reduce_ms >
        decode_bound(model, h100, 8, 1, 64, 2048, 2).reduce_ms);
  CHECK(peak_flops(h100.device, Precision::fp8) == 1979e12);
  CHECK(peak_flops(a100.device, Precision::fp8) == 312e12);   // no FP8 units
  CHECK(peak_flops(h100.device, Precision::int8) == 989e12);  // a format of weights alone
  CHECK(arithmetic_of(h100.device, Precision::fp4) == Precision::bf16);
  CHECK(arithmetic_of(Cluster::parse("1 b200").device, Precision::fp4) == Precision::fp4);
  CHECK(arithmetic_of(Cluster::parse("1 epyc-9654").device, Precision::int4) == Precision::int8);
}
