#include "launch/plan_input.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/json_file.h"
#include "kernels/select.h"
#include "launch/calibration_file.h"
#include "launch/commands.h"
#include "launch/machine_file.h"
#include "launch/probe_limits.h"
#include "launch/slurm_limits.h"
#include "model/shapes.h"
#include "model/transformers_config.h"
#include "plan/own_memory.h"
#include "plan/planned_weights.h"
#include "topology/machine_cluster.h"

namespace trireme {

namespace {

constexpr double kDefaultInput = 1024, kDefaultOutput = 256;

// Keys and values of an offline run with FP8 or FP4 weights are FP8, as in the published ones; elsewhere what engines
// do when nobody says it.
double kv_bytes_of(const Options& o, Precision precision, const EngineProfile& profile) {
  if (o.kv_type == "fp8" && profile.own())
    fail(ExitCode::usage,
         "--kv fp8: Trireme keeps keys and values in BF16; leave it out, or --engine-profile published");
  if (o.kv_type != "auto") return o.kv_type == "fp8" ? 1 : 2;
  const bool offline = o.batch == 0 && o.rate == 0 && o.objective != "latency";
  const bool eight = precision == Precision::fp8 || precision == Precision::fp4;
  return offline && eight && !profile.own() ? 1 : profile.kv_bytes;
}

std::unique_ptr<WeightSource> source_of(const std::string& model) {
  std::error_code error;
  if (!std::filesystem::exists(model, error))
    fail(ExitCode::no_input, "there is no model '{}'; check -m, or plan by --config or --shape", model);
  if (!is_model_source(model)) return std::make_unique<Checkpoint>(model);
  return std::make_unique<PlannedWeights>(ModelSource::open(model));
}

bool is_file(const std::string& machine) {
  std::error_code error;
  if (std::filesystem::is_regular_file(machine, error)) return true;
  if (machine.ends_with(".json") || machine.ends_with(".xml") || machine.find('/') != std::string::npos)
    fail(ExitCode::no_input, "there is no file '{}'; check --machine", machine);
  return false;
}

// What config.json of a checkpoint that others have quantized says of its weights: by method (fp8, mxfp4), or by bits
// and type (AWQ, GPTQ, bitsandbytes, compressed-tensors). nullopt: nothing that this knows.
std::optional<Precision> published_precision(const nlohmann::json& quantization) {
  const std::string method = quantization.value("quant_method", "");
  if (method.find("fp8") != method.npos) return Precision::fp8;
  if (method.find("fp4") != method.npos) return Precision::fp4;
  if (quantization.value("load_in_8bit", false)) return Precision::int8;
  if (quantization.value("load_in_4bit", false)) return Precision::int4;
  nlohmann::json weights = quantization;
  if (const auto groups = quantization.find("config_groups"); groups != quantization.end() && !groups->empty())
    weights = groups->front().value("weights", nlohmann::json::object());
  const bool is_float = weights.value("type", "int") == "float";
  const int bits = weights.contains("bits") ? weights.value("bits", 0) : weights.value("num_bits", 0);
  if (bits == 8) return is_float ? Precision::fp8 : Precision::int8;
  if (bits == 4) return is_float ? Precision::fp4 : Precision::int4;
  return std::nullopt;
}

// Of --config. precision: as it is published, where nobody asked for another.
ModelConfig read_config(const std::string& path, std::optional<Precision>& precision) {
  nlohmann::json config = read_json_file(path);
  for (const char* field : {"quantization_config", "compression_config"}) {
    const auto found = config.find(field);
    if (found == config.end() || found->is_null()) continue;
    try {
      if (!precision) precision = published_precision(*found);
    } catch (const nlohmann::json::exception&) {  // a field of another type: nothing that this knows
    }
    if (!precision)
      fail(ExitCode::bad_data, "{}: {} does not say how many bits a weight has; give --precision", path, field);
    config.erase(found);
  }
  return config_from_transformers(config, path);
}

// The map of this process alone, with the speed of its memory and CPUs as calibrating found it, or as it is now.
Cluster cluster_here(Machine machine, const std::optional<HostCosts>& costs) {
  if (!machine.ranks.front().visible_gpus.empty()) return cluster_of(machine);
  if (costs) return calibrated_cluster(machine, *costs);
  Host& host = machine.hosts.front();
  ThreadPool pool(static_cast<int>(machine.ranks.front().allowed.size()));
  const Limits limits = probe_arithmetic(pool);
  host.read_gbps = probe_read_gbps(pool);
  return cluster_of(machine, {.bf16_flops = std::max(limits.fma_gflops, limits.bf16_gflops) * 1e9,
                              .int8_ops = limits.int8_gops * 1e9});
}

EngineProfile profile_of(const std::string& name, std::optional<HostCosts> costs) {
  EngineProfile profile = get_engine_profile(name != "auto" ? name : costs ? "trireme" : "published");
  if (!profile.own()) return profile;
  profile.set_step_tokens(kStepTokens);
  if (!costs) return profile;
  profile.host = std::move(costs);
  profile.about = "this engine, calibrated on these CPUs";
  return profile;
}

}  // namespace

PlannedModel PlannedModel::of(const Options& o, const EngineProfile& profile) {
  if (int named = !o.model.empty() + !o.model_config.empty() + !o.shape.empty(); named != 1)
    fail(ExitCode::usage, "{}; give one of -m MODEL, --config config.json and --shape NAME",
         named == 0 ? "no model was given" : "the model was given more than once");
  std::optional<Precision> wanted;
  if (o.precision != "auto") wanted = get_precision(o.precision);
  PlannedModel p;
  if (!o.model.empty()) p.source = source_of(o.model);
  const ModelConfig config = p.source          ? ModelConfig::from_json(p.source->config(), o.model)
                             : o.shape.empty() ? read_config(o.model_config, wanted)
                                               : get_shape(o.shape).config();
  const Precision precision = wanted.value_or(Precision::bf16);
  if (profile.own() && precision == Precision::fp4)
    fail(ExitCode::usage, "--precision fp4: Trireme has no FP4; take int4, or --engine-profile published");
  const double kv_bytes = kv_bytes_of(o, precision, profile);
  const std::string name = p.source ? o.model : o.shape.empty() ? o.model_config : o.shape;
  p.work = p.source && !wanted ? std::make_unique<ModelWork>(*p.source, config, kv_bytes)
                               : std::make_unique<ModelWork>(name, config, precision, kv_bytes, profile);
  return p;
}

PlannedMachine PlannedMachine::of(const Options& o, const Environment& environment) {
  PlannedMachine planned;
  std::optional<HostCosts> costs;
  std::string why_not;
  if (o.machine == "here") {
    Machine machine = Machine::of({probe_here(environment)});
    if (machine.ranks.front().visible_gpus.empty())
      costs = find_calibration(machine, std::string(available_levels().back()), why_not);
    planned.cluster = cluster_here(std::move(machine), costs);
    if (!why_not.empty())
      planned.cluster.remarks.push_back(why_not + "; trireme bench --calibrate on all cores would count");
  } else {
    planned.cluster = is_file(o.machine) ? read_cluster_file(o.machine) : Cluster::parse(o.machine);
  }
  planned.profile = profile_of(o.engine_profile, std::move(costs));
  const bool left_open = o.batch == 0 && o.rate == 0;
  if (planned.profile.own() && planned.cluster.device.cpu && left_open)
    planned.profile.most_sequences = static_cast<double>(kSequences);
  return planned;
}

PlanRequest plan_request(const Options& o) {
  PlanRequest r;
  r.tp = static_cast<int>(o.tp), r.pp = static_cast<int>(o.pp), r.dp = static_cast<int>(o.dp);
  const auto given = [](int64_t tokens) { return static_cast<double>(tokens); };
  const bool only_context = o.context > 0 && o.input_len == 0 && o.output_len == 0;
  r.output_tokens = o.output_len > 0 ? given(o.output_len) : kDefaultOutput;
  r.input_tokens = o.input_len > 0 ? given(o.input_len)
                   : only_context  ? given(o.context)
                   : o.context > 0 ? std::max(1.0, given(o.context) - r.output_tokens)
                                   : kDefaultInput;
  r.context = o.context > 0 ? given(o.context) : r.input_tokens + r.output_tokens;
  r.position = only_context ? r.context : r.input_tokens + r.output_tokens / 2;
  if (!only_context && r.context < r.input_tokens + (o.output_len > 0 ? r.output_tokens : 0))
    fail(ExitCode::usage, "--context {} is less than --input-len {} and --output-len {} together; raise it", r.context,
         r.input_tokens, r.output_tokens);
  if (o.batch > 0 && o.rate > 0)
    fail(ExitCode::usage, "--batch {} and --rate {} both say how many sequences are in flight; keep one", o.batch,
         o.rate);
  r.batch = given(o.batch), r.rate = o.rate;
  r.objective = get_objective(o.objective);
  r.slo_ttft_ms = o.slo_ttft, r.slo_tpot_ms = o.slo_tpot, r.gpu_hour = o.gpu_hour;
  return r;
}

}  // namespace trireme
