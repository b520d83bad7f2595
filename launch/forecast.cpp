#include "launch/forecast.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/select.h"
#include "launch/calibration_file.h"
#include "plan/reasons.h"
#include "topology/machine_cluster.h"
#include "topology/threads.h"

namespace trireme {

namespace {

// The devices of a run are its ranks. Of those that differ the weakest counts: the others wait for it.
Cluster cluster_of_ranks(const Machine& machine, int threads_wanted, const EngineProfile& profile) {
  Cluster c = cluster_of(machine);
  int ranks = 1;
  for (int h = 0; h < std::ssize(machine.hosts); h++)
    ranks = std::max(ranks, static_cast<int>(machine.ranks_on(h).size()));
  int threads = thread_plan(machine, 0, threads_wanted).threads;
  for (int r = 1; r < machine.size(); r++) threads = std::min(threads, thread_plan(machine, r, threads_wanted).threads);
  if (profile.host) {
    c.cores = static_cast<int>(profile.host->cores);
    profile.host->set_rates(c.device);
  }
  c = c.divided(ranks, threads);
  c.devices = ranks;
  int64_t room = machine.available_bytes(0);
  for (int r = 1; r < machine.size(); r++) room = std::min(room, machine.available_bytes(r));
  c.device.memory_bytes = static_cast<double>(room);
  return c;
}

std::string text_of(const LayoutPlan& l) {
  return fmt::format("{} {:.0f} tok/s", shape_name({l.tp, l.pp, l.dp}), l.tokens_per_s);
}

}  // namespace

Forecast::Forecast(const WeightSource& source, const ModelConfig& config, Cluster cluster, EngineProfile profile,
                   PlanRequest request)
    : model_(std::make_unique<ModelWork>(source, config, profile.kv_bytes)),
      cluster_(std::move(cluster)),
      profile_(std::move(profile)),
      request_(std::move(request)) {}

std::optional<Forecast> Forecast::make(const WeightSource& source, const ModelConfig& config, const Machine& machine,
                                       const Options& options, const Demand& demand, std::string& why_not) {
  EngineProfile profile = get_engine_profile("trireme");
  profile.chunk_tokens = static_cast<double>(options.max_step_tokens);
  profile.most_sequences = static_cast<double>(options.max_seqs);
  const bool on_gpus = !machine.ranks.front().gpu.empty();
  if (!on_gpus) profile.host = read_calibration(machine.hosts.front(), std::string(available_levels().back()));
  PlanRequest request;
  request.documents = demand.documents;
  request.output_tokens = std::max(1.0, demand.output_tokens);
  request.input_tokens = std::clamp(demand.input_tokens, 1.0,
                                    std::max(1.0, static_cast<double>(config.max_positions) - request.output_tokens));
  request.context = request.input_tokens + request.output_tokens;
  request.position = request.input_tokens + request.output_tokens / 2;
  try {
    Cluster cluster = cluster_of_ranks(machine, static_cast<int>(options.threads), profile);
    return Forecast(source, config, std::move(cluster), std::move(profile), std::move(request));
  } catch (const Error& error) {
    if (error.code() != ExitCode::configuration) throw;
    why_not = error.what();
    return std::nullopt;
  }
}

size_t Forecast::choose(std::span<const Shape> shapes, std::string& why) const {
  const Plan plan = plan_layouts(*model_, cluster_, profile_, request_, shapes);
  const LayoutPlan& best = plan.layouts.front();
  why = fmt::format("auto layout: {}, of {} that fit", text_of(best), shapes.size());
  if (plan.layouts.size() > 1) why += fmt::format(" (next {})", text_of(plan.layouts[1]));
  why += fmt::format(", limited by {}", best.limiting_factor);
  if (!measured()) why += "; a guess, until `trireme bench --calibrate` has measured these CPUs";
  const auto same = [&](const Shape& s) { return s == Shape{best.tp, best.pp, best.dp}; };
  return static_cast<size_t>(std::find_if(shapes.begin(), shapes.end(), same) - shapes.begin());
}

double Forecast::decode_ms(const Shape& shape, const Pace::Phase& measured) const {
  const CostModel cost(*model_, model_->stages(shape.tp, shape.pp), cluster_, profile_, shape.tp, shape.pp);
  return cost.decode_step(measured.sequences(), measured.position()).total_ms();
}

// As if its rows were those of equal prompts: half of the last row's position is their mean.
double Forecast::prefill_ms(const Shape& shape, const Pace::Phase& measured) const {
  const CostModel cost(*model_, model_->stages(shape.tp, shape.pp), cluster_, profile_, shape.tp, shape.pp);
  const double tokens = std::min(measured.rows, 2 * measured.position());
  return cost.prefill(tokens, measured.rows / tokens).total_ms() / measured.rows;
}

}  // namespace trireme
