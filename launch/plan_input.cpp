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
#include "launch/probe_limits.h"
#include "model/shapes.h"
#include "model/transformers_config.h"
#include "plan/own_memory.h"
#include "plan/planned_weights.h"
#include "topology/gpu.h"
#include "topology/host.h"
#include "topology/threads.h"

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

// The data sheet of a GPU by the name that its driver has for it: "NVIDIA H100 80GB HBM3".
std::optional<DeviceSheet> sheet_of_gpu(const Gpu& gpu) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {{"GB200", "gb200"},
                                                                      {"B200", "b200"},
                                                                      {"H200", "h200"},
                                                                      {"H100", "h100"},
                                                                      {"L40S", "l40s"},
                                                                      {"4090", "rtx-4090"},
                                                                      {"PRO 6000", "rtx-pro-6000"}};
  constexpr uint64_t kLarge = uint64_t{60} << 30;  // an A100 of 80 GB
  for (auto [part, name] : kNames)
    if (gpu.name.find(part) != std::string::npos) return find_device_sheet(name);
  if (gpu.name.find("A100") == std::string::npos) return std::nullopt;
  return find_device_sheet(gpu.memory_bytes > kLarge ? "a100-80gb" : "a100-40gb");
}

Cluster gpus_here(const std::vector<Gpu>& gpus) {
  const auto sheet = sheet_of_gpu(gpus.front());
  if (!sheet)
    fail(ExitCode::configuration,
         "there is no data sheet of this host's {}; give --machine a JSON file with its figures", gpus.front().name);
  Cluster c;
  c.devices = static_cast<int>(gpus.size());
  c.device = *sheet;
  c.device.memory_bytes = static_cast<double>(gpus.front().memory_bytes);
  c.link = gpus.front().switch_links > 0     ? Link::nvswitch
           : gpus.front().peer_links.empty() ? Link::pcie
                                             : Link::nvlink_pairs;
  return c;
}

// This host's CPUs as one device: memory as it is free, speed as it is measured now.
Cluster cpus_here() {
  const Host host = probe_host();
  ThreadPool pool(static_cast<int>(allowed_cpus().size()));
  const Limits limits = probe_limits(pool);
  Cluster c;
  c.device.name = "cpu";
  c.device.cpu = true;
  c.device.memory_bytes = static_cast<double>(host.memory_available_bytes);
  c.device.memory_bytes_per_s = limits.read_gbps * 1e9;
  c.device.bf16_flops = std::max(limits.fma_gflops, limits.bf16_gflops) * 1e9;
  c.device.int8_ops = limits.int8_gops * 1e9;
  c.device.link = c.link = Link::sockets;
  return c;
}

}  // namespace

PlannedModel PlannedModel::of(const Options& o, const EngineProfile& profile) {
  if (int named = !o.model.empty() + !o.model_config.empty() + !o.shape.empty(); named != 1)
    fail(ExitCode::usage, "{}; give one of -m MODEL, --config config.json and --shape NAME",
         named == 0 ? "no model was given" : "the model was given more than once");
  PlannedModel p;
  const bool as_stored = o.precision == "auto";
  const Precision precision = as_stored ? Precision::bf16 : get_precision(o.precision);
  if (profile.own() && precision == Precision::fp4)
    fail(ExitCode::usage, "--precision fp4: Trireme has no FP4; take int4, or --engine-profile published");
  const double kv_bytes = kv_bytes_of(o, precision, profile);
  if (!o.model.empty()) {
    p.source = source_of(o.model);
    const ModelConfig config = ModelConfig::from_json(p.source->config(), o.model);
    p.work = as_stored ? std::make_unique<ModelWork>(*p.source, config, kv_bytes)
                       : std::make_unique<ModelWork>(o.model, config, precision, kv_bytes, profile);
    return p;
  }
  const ModelConfig config = o.shape.empty() ? config_from_transformers(read_json_file(o.model_config), o.model_config)
                                             : get_shape(o.shape).config();
  p.work =
      std::make_unique<ModelWork>(o.shape.empty() ? o.model_config : o.shape, config, precision, kv_bytes, profile);
  return p;
}

EngineProfile planned_profile(const Options& o) {
  std::optional<HostCosts> costs;
  if (o.machine == "here" && o.engine_profile != "published") {
    const Host host = probe_host();
    if (host.gpus.gpus.empty()) costs = read_calibration(host, std::string(available_levels().back()));
  }
  EngineProfile profile = get_engine_profile(o.engine_profile != "auto" ? o.engine_profile
                                             : costs                    ? "trireme"
                                                                        : "published");
  if (profile.own()) profile.chunk_tokens = static_cast<double>(kStepTokens);
  if (!costs || !profile.own()) return profile;
  profile.host = std::move(costs);
  profile.about = "this engine, calibrated on these CPUs";
  return profile;
}

Cluster planned_cluster(const Options& o) {
  std::error_code error;
  if (o.machine == "here") {
    const GpuProbe gpus = probe_gpus();
    return gpus.gpus.empty() ? cpus_here() : gpus_here(gpus.gpus);
  }
  if (std::filesystem::is_regular_file(o.machine, error))
    return Cluster::from_json(read_json_file(o.machine), o.machine);
  if (o.machine.ends_with(".json") || o.machine.find('/') != std::string::npos)
    fail(ExitCode::no_input, "there is no file '{}'; check --machine", o.machine);
  return Cluster::parse(o.machine);
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
