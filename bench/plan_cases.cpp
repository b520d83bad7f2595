// What the planner's model says of a list of cases, for the script that fits an engine profile (bench/fit_profile.py).
// The first line of standard input is an array of cases; every further line an engine profile (of one
// section "memory"), answered by a line: the array of its predictions.

#include <fmt/core.h>

#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "model/shapes.h"
#include "plan/cost.h"
#include "plan/memory.h"
#include "plan/published_config.h"

using namespace trireme;

namespace {

struct Case {
  std::string name, metric;
  PublishedModel published;
  Precision precision;
  Cluster cluster;
  int tp, pp, dp;
  double sequences, input, output;
  double kv_bytes;
  std::unique_ptr<ModelWork> model;
  std::vector<StageWork> stages;
};

Case read_case(const nlohmann::json& j) {
  Case c;
  c.name = j.value("shape", "case");
  c.published =
      j.contains("shape") ? PublishedModel{get_shape(c.name).config()} : PublishedModel::read(j.at("config"), c.name);
  c.metric = j.at("metric");
  c.precision = get_precision(j.at("precision").get<std::string>());
  c.cluster = Cluster::parse(j.at("machine").get<std::string>());
  c.tp = j.at("tp"), c.pp = j.at("pp"), c.dp = j.at("dp");
  c.sequences = j.at("batch"), c.input = j.at("input"), c.output = j.at("output");
  c.kv_bytes = j.at("kv_bytes");
  return c;
}

nlohmann::json predict(Case& c, const EngineProfile& profile) {
  if (!c.model) {
    const PublishedModel& m = c.published;
    c.model =
        std::make_unique<ModelWork>(c.name, m.config, c.precision, c.kv_bytes, profile, m.shared_columns, m.chunked);
    c.stages = c.model->stages(c.tp, c.pp);
  }
  const CostModel cost(*c.model, c.stages, c.cluster, profile, c.tp, c.pp);
  const MemoryPlan memory = plan_memory(*c.model, c.stages, profile, c.cluster, 256, c.input + c.output);
  const double fit = std::floor(memory.sequences());
  const Workload load{c.input, c.output, c.input + c.output / 2, c.sequences, fit};
  if (c.metric == "e2e_latency_ms") {  // a batch that begins and ends together
    const double step = cost.decode_step(c.sequences, load.position).total_ms();
    const double prefill = cost.prefill(c.input, c.sequences).total_ms();
    return {{"value", prefill + (c.output - 1) * step}, {"prefill", prefill}, {"step", step}};
  }
  const Performance p = cost.steady(load);
  const bool decode = c.metric == "decode_ms_per_token", first = c.metric == "ttft_ms";
  return {{"value", decode  ? p.decode_ms
                    : first ? p.ttft_ms
                            : p.tokens_per_s * c.dp},
          {"running", p.running},
          {"capacity", load.capacity},
          {"weights", p.step.weights_ms},
          {"arithmetic", p.step.arithmetic_ms},
          {"cache", p.step.cache_ms},
          {"layers", p.step.layers_ms},
          {"reduce", p.step.reduce_ms},
          {"fixed", p.step.fixed_ms},
          {"step", p.step.total_ms()},
          {"decode", p.decode_ms},
          {"prefill", p.prefill.total_ms()},
          {"prefill_reduce", p.prefill.reduce_ms},
          {"queue", p.queue_ms}};
}

}  // namespace

int main() {
  try {
    std::string line;
    std::getline(std::cin, line);
    std::vector<Case> cases;
    for (const nlohmann::json& j : nlohmann::json::parse(line)) cases.push_back(read_case(j));
    while (std::getline(std::cin, line)) {
      const EngineProfile profile = EngineProfile::parse(nlohmann::json::parse(line), "line");
      nlohmann::json out = nlohmann::json::array();
      for (Case& c : cases) out.push_back(predict(c, profile));
      std::cout << out.dump() << std::endl;
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "plan_cases: {}\n", e.what());
    return 65;
  }
}
