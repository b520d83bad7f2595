#include "plan/host_costs.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/shapes.h"
#include "plan/cost.h"
#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;
using testkit::error_of;

namespace {

// Layers of `millions` of parameters, each of which takes so long for a row, and four times as long for 16.
nlohmann::json layers(double millions, double one_row_ns) {
  return {{"parameters", millions * 1e6}, {"rows", {1, 16}}, {"ns_per_parameter", {one_row_ns, 4 * one_row_ns}}};
}
// A host of 8 cores, whatever the size of its layers, and nothing else but exchanges.
nlohmann::json steps(double one_row_ns) {
  nlohmann::json steps;
  for (const char* field :
       {"attend_ns", "kv_ns", "cached_attend_ns", "cached_kv_ns", "attend_prompt_ns", "step_us", "sequence_us"})
    steps[field] = 0;
  steps["layers"]["bf16"] = {layers(1, one_row_ns)};
  return steps;
}
nlohmann::json calibration() {
  return {{"cores", 8},     {"cached_bytes", 0},          {"read_bytes_per_s", 1e15},
          {"reduce_us", 0}, {"reduce_bytes_per_s", 1e18}, {"whole", steps(1)}};
}
// The same of two cores, of which one alone takes as much longer as it is less, and `faster` by so much while the other
// one waits.
nlohmann::json two_cores(double faster) {
  nlohmann::json json = calibration();
  json["cores"] = 2;
  json["core"] = steps(2);
  json["lone"] = steps(2 / faster);
  return json;
}

std::string refusal(const char* field, const nlohmann::json& value) {
  nlohmann::json json = calibration();
  (json.contains(field) ? json : json["whole"])[field] = value;
  return error_of([&] { HostCosts::parse(json, "c.json"); });
}

// Of a step of `rows`, or of prompts, on ranks with half of such a host each. split: layers of stages, or as dealt.
struct Steps {
  double decode_ms, prompts_ms;
};
Steps steps_of(int pp, double rows, const nlohmann::json& costs, double position, double tokens,
               const std::vector<int>& split = {}) {
  EngineProfile profile = get_engine_profile("trireme");
  profile.set_step_tokens(256);
  profile.host = HostCosts::parse(costs, "c.json");
  Cluster cluster = Cluster::parse("2 epyc-9654");
  cluster.device.share = 0.5;
  cluster.device.memory_bytes_per_s = cluster.device.bf16_flops = 1e18;
  cluster.device.pcie_bytes_per_s = 1e18;
  const ModelWork model("m", get_shape("smollm2-135m").config(), Precision::bf16, 2, profile);
  const CostModel cost(model, model.stages(1, pp, split), cluster, profile, 1, pp);
  return {cost.decode_step(rows, position).total_ms(), cost.prefill(tokens, rows).total_ms()};
}
double step_ms(int pp, double rows, const nlohmann::json& costs = calibration(), double position = 1) {
  return steps_of(pp, rows, costs, position, 1).decode_ms;
}
double prompts_ms(int pp, double prompts, double tokens, const nlohmann::json& costs = calibration()) {
  return steps_of(pp, prompts, costs, 1, tokens).prompts_ms;
}

}  // namespace

TEST_CASE("a calibration survives its journey, and between measured rows a step's time is linear") {
  const HostCosts costs = HostCosts::parse(HostCosts::parse(calibration(), "c.json").to_json(), "c.json");
  const auto ns = [&](double rows) { return costs.whole.layer_ns(Precision::bf16, 1e6, rows) / 1e6; };
  CHECK(ns(1) == 1);
  CHECK(ns(6) == doctest::Approx(2));
  CHECK(ns(16) == 4);
  CHECK(ns(64) == 16);                                                  // beyond them rows cost what they did at last
  CHECK(costs.whole.layer_ns(Precision::int4, 1e6, 1) == ns(1) * 1e6);  // the nearest there is
}

TEST_CASE("a parameter takes longer in small layers: between two that were measured geometric") {
  nlohmann::json json = calibration();
  json["whole"]["layers"]["bf16"] = {layers(1, 4), layers(100, 1)};
  const HostCosts costs = HostCosts::parse(json, "c.json");
  const auto ns = [&](double millions) { return costs.whole.layer_ns(Precision::bf16, millions * 1e6, 1) * 1e-6; };
  CHECK(ns(1) == doctest::Approx(4));
  CHECK(ns(10) == doctest::Approx(10 * 2));
  CHECK(ns(100) == doctest::Approx(100));
  CHECK(ns(1000) == doctest::Approx(1000));            // large layers are alike
  CHECK(ns(0.1) == doctest::Approx(4));                // and of what is next to nothing threads meet as often
  json["whole"]["layers"]["bf16"] = {layers(100, 1)};  // which tells nothing of smaller ones
  CHECK(HostCosts::parse(json, "c.json").whole.layer_ns(Precision::bf16, 1e6, 1) == doctest::Approx(1e6));
}

TEST_CASE("a step takes what its parameters take, longer on a part of the host") {
  const double parameters = 30 * (2.0 * (9 + 3) * 64 + 3 * 1536) * 576 + 49152.0 * 576;
  CHECK(step_ms(1, 1) == doctest::Approx(parameters * 1e-6 / 0.5).epsilon(0.01));
  CHECK(step_ms(1, 16) == doctest::Approx(4 * parameters * 1e-6 / 0.5).epsilon(0.01));
}

TEST_CASE("a position costs its query heads their arithmetic, its KV heads their bytes") {
  nlohmann::json costs = calibration();
  costs["whole"]["attend_ns"] = 0.01, costs["whole"]["kv_ns"] = 0.1;
  const double attention = step_ms(1, 16, costs, 100) - step_ms(1, 16);
  CHECK(attention == doctest::Approx(16 * 100 * 30 * 64 * (9 * 0.01 + 3 * 0.1) * 1e-6 / 0.5).epsilon(0.01));
}

TEST_CASE("keys and values that stay in caches cost what they do there") {
  nlohmann::json costs = calibration();
  costs["whole"]["kv_ns"] = 0.1;
  const double all = step_ms(1, 16, costs, 100) - step_ms(1, 16);
  const double bytes = 16 * 100 * 30 * 2 * 3 * 64 * 2.0;
  costs["cached_bytes"] = bytes;  // of which this rank, of half of the cores, has a half
  CHECK(step_ms(1, 16, costs, 100) - step_ms(1, 16) == doctest::Approx(all / 2).epsilon(0.01));
  costs["cached_bytes"] = 2 * bytes;
  CHECK(step_ms(1, 16, costs, 100) - step_ms(1, 16) == doctest::Approx(0));
  costs["whole"]["cached_kv_ns"] = 0.04;
  CHECK(step_ms(1, 16, costs, 100) - step_ms(1, 16) == doctest::Approx(all * 0.4).epsilon(0.01));
}

TEST_CASE("ranks of one core each and one of all are as measured, ranks between them geometric") {
  nlohmann::json json = calibration();
  json["core"] = steps(4);  // not 8: what eight cores do for one rank they do not do eight times as well
  json["lone"] = steps(2);
  const HostCosts costs = HostCosts::parse(HostCosts::parse(json, "c.json").to_json(), "c.json");
  const auto row_ns = [](const StepCosts& steps) { return steps.layer_ns(Precision::bf16, 1e6, 1) / 1e6; };
  CHECK(row_ns(costs.of(1)) == doctest::Approx(1));
  CHECK(row_ns(costs.of(1.0 / 8)) == doctest::Approx(4));
  CHECK(row_ns(costs.of(2.0 / 8)) == doctest::Approx(std::pow(4, 2.0 / 3)));
  CHECK(row_ns(costs.of(0.5 / 8)) == doctest::Approx(8));  // two share one
  // While the others wait; a rank of all cores has no others.
  CHECK(row_ns(costs.lone_of(1)) == doctest::Approx(1));
  CHECK(row_ns(costs.lone_of(1.0 / 8)) == doctest::Approx(2));
  CHECK(row_ns(costs.lone_of(2.0 / 8)) == doctest::Approx(std::pow(2, 2.0 / 3)));
}

TEST_CASE("where one rank was measured alone, others that wait make no difference") {
  const HostCosts costs = HostCosts::parse(calibration(), "c.json");
  for (double share : {1.0, 0.5, 0.1})
    CHECK(costs.lone_of(share).layer_ns(Precision::bf16, 1e6, 1) == costs.of(share).layer_ns(Precision::bf16, 1e6, 1));
  CHECK(step_ms(2, 1) == doctest::Approx(step_ms(1, 1)).epsilon(0.01));
}

TEST_CASE("the most that a step reached stands for the data sheet") {
  DeviceSheet device;
  HostCosts::parse(calibration(), "c.json").set_rates(device);
  CHECK(device.memory_bytes_per_s == 1e15);
  CHECK(device.bf16_flops == doctest::Approx(2 * 16 / 4.0 * 1e9));
  CHECK(device.int8_ops == 0);
}

TEST_CASE("a stage is faster while the other one waits for it") {
  const double alone = step_ms(1, 1);
  CHECK(step_ms(2, 1, two_cores(1.5)) == doctest::Approx(alone / 1.5).epsilon(0.01));  // all that a core can take
  CHECK(step_ms(2, 1, two_cores(3)) == doctest::Approx(alone / 2).epsilon(0.01));      // half of them wait, no more
  CHECK(step_ms(2, 1, two_cores(0.8)) == doctest::Approx(alone).epsilon(0.01));        // noise
  CHECK(step_ms(1, 1, two_cores(1.5)) == doctest::Approx(alone));                      // one stage waits for none
}

TEST_CASE("by how much is that step's own: of its rows, its precision, its positions") {
  nlohmann::json costs = two_cores(1.5);
  costs["lone"]["layers"]["bf16"][0]["ns_per_parameter"] = {2 / 1.5, 4 * 2};                  // nothing at 16 rows
  CHECK(prompts_ms(2, 1, 16, costs) == doctest::Approx(prompts_ms(1, 1, 16)).epsilon(0.03));  // the head has one row
  CHECK(step_ms(2, 1, costs) == doctest::Approx(step_ms(1, 1) / 1.5).epsilon(0.01));

  costs = two_cores(1);
  costs["core"]["layers"]["int8"] = {layers(1, 2)}, costs["lone"]["layers"]["int8"] = {layers(1, 1)};  // not BF16's
  CHECK(step_ms(2, 1, costs) == doctest::Approx(step_ms(1, 1)).epsilon(0.01));

  costs = two_cores(1);
  costs["core"]["kv_ns"] = 8, costs["lone"]["kv_ns"] = 4;
  const double layers_ms = step_ms(1, 1), attention_ms = step_ms(1, 1, costs, 100) - layers_ms;
  CHECK(step_ms(2, 1, costs, 100) == doctest::Approx(layers_ms + attention_ms / 2).epsilon(0.01));
}

TEST_CASE("a full pipeline goes at the pace of its slowest stage; stages that are alike wait for each other") {
  const nlohmann::json costs = two_cores(1);
  const double layers = 30 * (2.0 * (9 + 3) * 64 + 3 * 1536) * 576, head = 49152.0 * 576;
  const double waits = 1 + get_engine_profile("trireme").bubble / 2;
  const auto last = [&](double held) { return (layers * held / 30 + head) / (layers + head); };
  const auto passes = [&](const std::vector<int>& split) {  // that a step of two sequences takes
    return steps_of(2, 2, costs, 1, 1, split).decode_ms / step_ms(1, 1, costs);
  };
  CHECK(passes({19, 11}) == doctest::Approx(waits).epsilon(0.01));
  CHECK(passes({15, 15}) == doctest::Approx(2 * last(15)).epsilon(0.01));  // the first has slack
  CHECK(passes({10, 20}) == doctest::Approx(2 * last(20)).epsilon(0.01));
}

TEST_CASE("a prompt too short to be cut passes stages one after the other, each faster while the other waits") {
  CHECK(prompts_ms(2, 1, 16, two_cores(1)) == doctest::Approx(prompts_ms(1, 1, 16)).epsilon(0.01));
  CHECK(prompts_ms(2, 1, 16, two_cores(1.5)) == doctest::Approx(prompts_ms(1, 1, 16) / 1.5).epsilon(0.01));
  CHECK(prompts_ms(1, 1, 16, two_cores(1.5)) == doctest::Approx(prompts_ms(1, 1, 16)));
}

TEST_CASE("pieces of a prompt pass stages beside each other") {
  // Of rows beyond the measured ones each takes as long, so a piece of half of them half; the head is of few rows.
  const double layers = 30 * (2.0 * (9 + 3) * 64 + 3 * 1536) * 576 * 1e-6 / 0.5 / 4;  // of a row, milliseconds
  const auto passes = [&](double rows, const std::vector<int>& split) {
    return steps_of(2, 1, calibration(), 1, rows, split).prompts_ms / (rows * layers);
  };
  const double waits = 1 + get_engine_profile("trireme").bubble / 2;
  CHECK(passes(256, {20, 10}) ==
        doctest::Approx((1 + 20.0 / 30) / 2).epsilon(0.05));  // two halves, one behind the other
  CHECK(passes(256 * 64, {20, 10}) == doctest::Approx(20.0 / 30).epsilon(0.05));
  CHECK(passes(256 * 64, {15, 15}) == doctest::Approx(0.5 * waits).epsilon(0.05));
}

TEST_CASE("two sequences on four stages wait for nobody") {
  const nlohmann::json costs = two_cores(1);
  CHECK(step_ms(4, 2, costs) == doctest::Approx(step_ms(1, 1, costs)).epsilon(0.01));
}

TEST_CASE("what is no calibration is refused by the field") {
  CHECK(contains(refusal("cores", 0), "65: c.json: field \"cores\" of the calibration must be 1 at least"));
  CHECK(contains(refusal("read_bytes_per_s", 0), "\"read_bytes_per_s\" of the calibration must be above 0"));
  CHECK(contains(refusal("step_us", -1), "must be a number of at least 0"));
  CHECK(contains(refusal("layers", nlohmann::json::object()), "must have a precision"));
  nlohmann::json half = two_cores(1);
  half.erase("lone");
  CHECK(contains(error_of([&] { HostCosts::parse(half, "c.json"); }), "\"lone\""));
  const auto of_rows = [](nlohmann::json rows) {
    const nlohmann::json one = {{"parameters", 1}, {"rows", std::move(rows)}, {"ns_per_parameter", {1, 2}}};
    return nlohmann::json{{"int8", {one}}};
  };
  CHECK(contains(refusal("layers", of_rows({1, 1})), "must ascend from 1"));
  CHECK(contains(refusal("layers", of_rows({2, 3})), "must ascend from 1"));
  CHECK(contains(refusal("layers", of_rows({1, 2, 3})), "with a time for each"));
  CHECK(contains(refusal("layers", of_rows({1, "2"})), "must have numbers above 0"));
  CHECK(contains(refusal("layers", {{"int8", {layers(2, 1), layers(2, 1)}}}), "must ascend in its parameters"));
  CHECK(contains(refusal("layers", {{"int8", {layers(0, 1)}}}), "must ascend in its parameters"));
}
