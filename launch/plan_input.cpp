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
#include "plan/own_memory.h"
#include "plan/planned_weights.h"
#include "plan/published_config.h"
#include "plan/published_precision.h"
#include "topology/machine_cluster.h"

namespace trireme {

namespace {

constexpr double kDefaultInput = 1024, kDefaultOutput = 256;

// As the model is published; else keys and values of an offline run with FP8 or FP4 weights are FP8, as in the
// published ones; elsewhere what engines do when nobody says it.
double kv_bytes_of(const Options& o, Precision precision, std::optional<double> published,
                   const EngineProfile& profile) {
  if (o.kv_type == "fp8" && profile.own())
    fail(ExitCode::usage,
         "--kv fp8: Trireme keeps keys and values in BF16; leave it out, or --engine-profile published");
  if (o.kv_type != "auto") return o.kv_type == "fp8" ? 1 : 2;
  if (published && !profile.own()) return *published;
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

// Of --config: the model, and the precisions that it is published with, which it need not tell of weights for which
// another is wanted.
PublishedModel read_config(const std::string& path, const std::optional<Precision>& wanted,
                           std::optional<Precision>& precision, std::optional<double>& kv_bytes) {
  nlohmann::json config = read_json_file(path);
  for (const char* field : {"quantization_config", "compression_config"}) {
    const auto found = config.find(field);
    if (found == config.end() || found->is_null()) continue;
    const PublishedPrecision published = PublishedPrecision::of(*found);
    if (!precision) precision = published.weights;
    if (!precision && !wanted)
      fail(ExitCode::bad_data, "{}: {} does not say how many bits a weight has; give --precision", path, field);
    if (!kv_bytes) kv_bytes = published.kv_bytes;
    config.erase(found);
  }
  return PublishedModel::read(config, path);
}

// By the command line, where it names one; else by whatever does.
Options named_once(Options o) {
  const std::pair<const char*, std::string*> names[] = {
      {"model", &o.model}, {"config", &o.model_config}, {"shape", &o.shape}};
  const bool any = std::ranges::any_of(names, [&](auto& n) { return o.typed(n.first) && !n.second->empty(); });
  int named = 0;
  for (auto& [option, value] : names) {
    if (any && !o.typed(option)) value->clear();
    named += !value->empty();
  }
  if (named != 1)
    fail(ExitCode::usage, "{}; give one of -m MODEL, --config config.json and --shape NAME",
         named == 0 ? "no model was given" : "the model was given more than once");
  return o;
}

// The map of this process alone, with the speed of its memory and CPUs as calibrating found it, or as it is now.
Cluster cluster_here(Machine machine, const std::optional<HostCosts>& costs) {
  if (!machine.ranks.front().visible_gpus.empty()) return cluster_of(machine);
  if (costs) return calibrated_cluster(machine, *costs);
  Host& host = machine.hosts.front();
  ThreadPool pool(static_cast<int>(machine.ranks.front().allowed.size()));
  const Limits limits = probe_arithmetic(pool);
  host.read_gbps = probe_read_gbps(pool);
  return cluster_of(machine, cpu_arithmetic(limits));
}

EngineProfile profile_of(const std::string& name, bool on_gpus, std::optional<HostCosts> costs) {
  EngineProfile profile = get_engine_profile(name != "auto" ? name : costs ? "trireme" : "published");
  if (!profile.own()) return profile;
  profile.set_step_tokens(default_step_tokens(on_gpus));
  if (!costs) return profile;
  profile.host = std::move(costs);
  profile.about = "this engine, calibrated on these CPUs";
  return profile;
}

}  // namespace

PlannedModel PlannedModel::of(const Options& options, const EngineProfile& profile) {
  const Options o = named_once(options);
  std::optional<Precision> wanted;
  if (o.precision != "auto") wanted = get_precision(o.precision);
  std::optional<double> kv_published;
  std::optional<Precision> own;
  PlannedModel p;
  if (!o.model.empty()) p.source = source_of(o.model);
  const PublishedModel model = p.source          ? PublishedModel{ModelConfig::from_json(p.source->config(), o.model)}
                               : o.shape.empty() ? read_config(o.model_config, wanted, own, kv_published)
                                                 : PublishedModel{get_shape(o.shape).config()};
  const Precision precision = wanted.value_or(own.value_or(Precision::bf16));
  if (profile.own() && !model.foreign_type.empty())
    fail(ExitCode::usage, "Trireme does not run {}; --engine-profile published plans its sizes", model.foreign_type);
  if (profile.own() && precision == Precision::fp4)
    fail(ExitCode::usage, "--precision fp4: Trireme has no FP4; take int4, or --engine-profile published");
  const double kv_bytes = kv_bytes_of(o, precision, kv_published, profile);
  const std::string name = p.source ? o.model : o.shape.empty() ? o.model_config : o.shape;
  p.foreign_type = model.foreign_type;
  if (p.source) {
    p.work = std::make_unique<ModelWork>(*p.source, model.config, kv_bytes);
    own = p.work->precision();
  }
  if (!p.source || wanted)
    p.work = std::make_unique<ModelWork>(name, model.config, precision, kv_bytes, profile, model.shared_columns,
                                         model.chunked);
  if (wanted && *wanted != own.value_or(Precision::bf16)) p.convert_to = wanted;
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
    planned.cluster = is_file(o.machine) ? read_cluster_file(o.machine) : Cluster::parse(o.machine, "--machine");
  }
  planned.profile = profile_of(o.engine_profile, !planned.cluster.device.cpu, std::move(costs));
  const bool left_open = o.batch == 0 && o.rate == 0;
  if (planned.profile.own() && planned.cluster.device.cpu && left_open)
    planned.profile.most_sequences = static_cast<double>(default_sequences(!planned.cluster.device.cpu));
  return planned;
}

PlanRequest plan_request(const Options& o) {
  PlanRequest r;
  r.degrees = {static_cast<int>(o.tp), static_cast<int>(o.pp), static_cast<int>(o.dp)};
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
