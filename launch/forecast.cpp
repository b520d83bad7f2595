#include "launch/forecast.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/select.h"
#include "launch/calibration_file.h"
#include "launch/probe_limits.h"
#include "plan/reasons.h"
#include "topology/machine_cluster.h"
#include "topology/threads.h"

namespace trireme {

namespace {

// The CPUs are what counts where ranks compute on them, whatever GPUs they see.
Machine without_gpus(Machine machine) {
  for (Rank& rank : machine.ranks) rank.visible_gpus.clear();
  for (Host& host : machine.hosts) host.gpus = {};
  return machine;
}

std::optional<HostCosts> calibration_of(const Machine& machine, const Options& options, std::string& remark) {
  const std::string level = options.level == "auto" ? std::string(available_levels().back()) : options.level;
  return find_calibration(machine, level, remark);
}

// CPUs that nobody calibrated: by their data sheet, or as many times what one core does just now, which takes some 50
// ms.
Cluster guessed_cluster(const Machine& machine) {
  Cluster cluster = cluster_of(machine);
  if (find_device_sheet(cluster.device.name)) return cluster;
  ThreadPool one(1, {});
  return cluster_of(machine, cpu_arithmetic(probe_arithmetic(one), cluster.cores));
}

// The devices of a run are its ranks. Of those that differ the weakest counts: the others wait for it.
Cluster of_ranks(Cluster c, const Machine& machine, int threads_wanted) {
  int ranks = 1, threads = c.cores;
  for (int h = 0; h < std::ssize(machine.hosts); h++) {
    const std::vector<ThreadPlan> plans = thread_plans(machine, h, threads_wanted);
    ranks = std::max(ranks, static_cast<int>(plans.size()));
    for (const ThreadPlan& plan : plans) threads = std::min(threads, plan.threads);
  }
  c = c.divided(ranks, threads);
  c.devices = ranks;
  int64_t room = machine.available_bytes(0);
  for (int r = 1; r < machine.size(); r++) room = std::min(room, machine.available_bytes(r));
  c.device.memory_bytes = static_cast<double>(room);
  return c;
}

std::string text_of(const LayoutPlan& l) { return fmt::format("{} {:.0f} tok/s", degrees_name(l), l.tokens_per_s); }

std::string guess_of(const Options& options, bool on_gpus, bool calibrated) {
  if (options.numerics == "exact") return ", as if --numerics exact were standard";
  if (on_gpus) return " by the data sheet of these GPUs, which nobody has calibrated";
  return calibrated ? "" : ", until `trireme bench --calibrate` has measured these CPUs";
}

}  // namespace

Forecast::Forecast(const WeightSource& source, const ModelConfig& config, Cluster cluster, EngineProfile profile,
                   PlanRequest request, std::string guess)
    : model_(std::make_unique<ModelWork>(source, config, profile.kv_bytes)),
      cluster_(std::move(cluster)),
      profile_(std::move(profile)),
      request_(std::move(request)),
      guess_(std::move(guess)) {}

std::optional<Forecast> Forecast::make(const WeightSource& source, const ModelConfig& config, const Machine& machine,
                                       const Options& options, const Demand& demand, std::string& remark) {
  EngineProfile profile = get_engine_profile("trireme");
  profile.set_step_tokens(options.max_step_tokens);
  profile.most_sequences = static_cast<double>(options.max_seqs);
  const bool on_gpus = !machine.ranks.front().gpu.empty();
  const Machine seen = on_gpus ? machine : without_gpus(machine);
  if (!on_gpus) profile.host = calibration_of(seen, options, remark);
  PlanRequest request;
  request.documents = demand.documents;
  request.output_tokens = std::max(1.0, demand.output_tokens);
  const double most = static_cast<double>(config.max_positions) - request.output_tokens;
  request.input_tokens = std::clamp(demand.input_tokens, 1.0, std::max(1.0, most));
  request.context = request.input_tokens + request.output_tokens;
  request.position = request.input_tokens + request.output_tokens / 2;
  try {
    Cluster cluster = profile.host ? calibrated_cluster(seen, *profile.host)
                      : on_gpus    ? cluster_of(seen)
                                   : guessed_cluster(seen);
    cluster = of_ranks(std::move(cluster), machine, static_cast<int>(options.threads));
    std::string guess = guess_of(options, on_gpus, profile.host.has_value());
    Forecast forecast(source, config, std::move(cluster), std::move(profile), std::move(request), std::move(guess));
    forecast.stage_split_.assign(options.stage_split.begin(), options.stage_split.end());
    return forecast;
  } catch (const Error& error) {
    if (error.code() != ExitCode::configuration) throw;
    remark = error.what();
    return std::nullopt;
  }
}

size_t Forecast::choose(std::span<const Degrees> choices, std::string& why) const {
  const Plan plan = plan_layouts({*model_, cluster_, profile_, request_, {}}, choices);
  const LayoutPlan& best = plan.layouts.front();
  why = fmt::format("auto layout: {}, of {} that fit", text_of(best), choices.size());
  if (plan.layouts.size() > 1) why += fmt::format(" (next {})", text_of(plan.layouts[1]));
  why += fmt::format(", limited by {}", best.limiting_factor);
  if (!measured()) why += "; a guess" + guess_;
  return static_cast<size_t>(std::find(choices.begin(), choices.end(), best) - choices.begin());
}

CostModel Forecast::cost_of(const Degrees& d) const {
  return {*model_, model_->stages(d.tp, d.pp, stage_split_), cluster_, profile_, d.tp, d.pp};
}

double Forecast::decode_ms(const Degrees& degrees, const Pace::Phase& measured) const {
  return cost_of(degrees).decode_step(measured.sequences(), measured.position()).total_ms();
}

// As if its rows were those of equal prompts, as many in each stretch: half of the last row's position is their mean.
double Forecast::prefill_ms(const Degrees& degrees, const Pace::Phase& measured) const {
  const double rows = measured.rows / measured.stretches, tokens = std::min(rows, 2 * measured.position());
  return cost_of(degrees).prefill(tokens, rows / tokens).total_ms() / rows;
}

}  // namespace trireme
