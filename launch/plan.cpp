#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "launch/commands.h"
#include "launch/plan_input.h"
#include "launch/start_lines.h"
#include "plan/advice.h"
#include "plan/bound.h"
#include "plan/nearest_fit.h"
#include "plan/reasons.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

double rounded(double value, double step) { return std::round(value / step) * step; }

int64_t whole(double value) { return static_cast<int64_t>(std::clamp(value, -0x1p62, 0x1p62)); }

// Keys and values of the sequences in flight, of a device.
double cache_bytes(const LayoutPlan& l, const PlanRequest& r) {
  return (r.batch > 0 ? r.batch : std::max(1.0, l.performance.running)) * l.memory.sequence_bytes;
}

ordered_json json_of(const LayoutPlan& l, const PlanRequest& r) {
  return {{"tp", l.tp},
          {"pp", l.pp},
          {"dp", l.dp},
          {"fits", l.fits},
          {"weight_bytes_per_device", whole(l.memory.weight_bytes)},
          {"kv_bytes_per_device", whole(cache_bytes(l, r))},
          {"max_sequences", whole(l.max_sequences)},
          {"decode_ms_per_token", l.performance.decode_ms},
          {"ttft_ms", l.performance.ttft_ms},
          {"output_tokens_per_s", l.tokens_per_s},
          {"bound_decode_ms", l.bound_decode_ms},
          {"bound_ttft_ms", l.bound_ttft_ms},
          {"limiting_factor", l.limiting_factor},
          {"reason", l.reason}};
}

// Why this engine, whose profile it may not be, cannot run such a model; "": it can.
std::string missing_in_trireme(const PlannedModel& planned) {
  const ModelWork& model = *planned.work;
  if (!planned.foreign_type.empty()) return "model_type " + planned.foreign_type;
  if (model.precision() == Precision::fp4) return "FP4 weights; --precision int4 plans what it has";
  if (model.kv_bytes() < 2) return "FP8 keys and values; --kv bf16 plans what it has";
  return "";
}

void print_json(const Plan& plan, const PlannedModel& model, const PlanRequest& request) {
  ordered_json all = {{"choice", nullptr}, {"missing_in_trireme", nullptr}, {"layouts", ordered_json::array()}};
  if (plan.choice >= 0) all["choice"] = plan.choice;
  if (const std::string missing = missing_in_trireme(model); !missing.empty()) all["missing_in_trireme"] = missing;
  for (const LayoutPlan& l : plan.layouts) all["layouts"].push_back(json_of(l, request));
  fmt::print("{}\n", all.dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

void print_heading(const PlannedModel& planned, const Cluster& cluster, const EngineProfile& profile,
                   const PlanRequest& r) {
  const ModelWork& model = *planned.work;
  fmt::print("{}, {:.1f} billion parameters, {:.3g} bits a weight, {}-byte keys and values\n", printable(model.name()),
             model.parameters() / 1e9, model.bits(), model.kv_bytes());
  if (!planned.foreign_type.empty())
    fmt::print("  Trireme does not run {}: planned by the sizes of its language model alone\n", planned.foreign_type);
  if (model.seen_positions(r.context) < r.context)
    fmt::print("  {} of {} layers see a window; their cache keeps {}\n",
               std::ranges::count_if(model.config().layer_windows, [](int64_t window) { return window > 0; }),
               model.config().num_layers,
               model.kept_positions(r.context, profile) < r.context ? "that alone" : "all positions");
  fmt::print("{}{}\n", cluster.text(), cluster.nics_assumed ? " (adapters assumed)" : "");
  for (const std::string& remark : cluster.remarks) fmt::print("  {}\n", remark);
  const Precision precision = model.precision();
  if ((precision == Precision::fp8 || precision == Precision::fp4) &&
      arithmetic_of(cluster.device, precision) == Precision::bf16)
    fmt::print("  {} multiplies no {}: weights are stored so and multiplied as bf16\n", cluster.device.name,
               precision_name(precision));
  if (const int tp = r.degrees.tp; tp > 0 && !profile.own() && model.config().num_heads % tp != 0)
    fmt::print("  {} heads are not a multiple of TP {}: other engines refuse it, this one divides by units\n",
               model.config().num_heads, tp);
  fmt::print("{:.0f} tokens in, {:.0f} out, context {:.0f}, {}; engine profile {} ({})\n", r.input_tokens,
             r.output_tokens, r.context,
             r.batch > 0  ? fmt::format("{:.0f} in flight a replica", r.batch)
             : r.rate > 0 ? fmt::format("{} requests/s", r.rate)
                          : fmt::format("as many in flight as the objective likes, {:.0f} a replica at most",
                                        profile.most_sequences),
             profile.name, profile.about);
  if (const int64_t most = model.config().max_positions; r.context > static_cast<double>(most))
    fmt::print("  the model was made for {} positions; longer sequences want a stretched RoPE\n", most);
  fmt::print("\n");
}

void print_row(const LayoutPlan& l, const PlanRequest& r, bool chosen) {
  const Performance& p = l.performance;
  const double per_device = l.tokens_per_s / l.devices();
  fmt::print(
      "{} {:<18} {:<4} {:>7.1f} {:>7.1f} {:>9.0f} {:>9.0f} {:>9.1f} {:>10.0f} {:>10} {:>9} {:>9.2f} {:>7.0f}% {:>6}\n",
      chosen ? ">" : " ", layout_name(l), l.fits ? "yes" : "no", l.memory.weight_bytes / 1e9, cache_bytes(l, r) / 1e9,
      l.max_sequences, l.max_sequences >= 1 ? std::min(l.wanted, p.running) : 0, p.decode_ms, p.ttft_ms,
      short_number(l.tokens_per_s), short_number(per_device), rounded(l.cost_per_million, 0.01),
      100 * l.bound_decode_ms / p.decode_ms,
      l.expected_error > 0 ? fmt::format("{:.0f}%", 100 * l.expected_error) : "?");
}

constexpr size_t kShown = 24;  // layouts of a text, the best: CPUs of many cores allow hundreds

void print_rest(const Plan& plan) {
  if (plan.layouts.size() > kShown) fmt::print("... and {} more (--json has all)\n", plan.layouts.size() - kShown);
}

void print_table(const Plan& plan, const Cluster& cluster, const PlanRequest& r) {
  constexpr const char* kHead = "  {:<18} {:<4} {:>15} {:>9} {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>8} {:>6}\n";
  fmt::print(fmt::runtime(kHead), "layout", "fits", cluster.cores > 0 ? "GB per rank" : "GB per device", "sequences",
             "in flight", "decode", "TTFT p50", "output", cluster.cores > 0 ? "a rank" : "a device",
             r.gpu_hour > 0 ? "cost per" : "hours per", "share of", "error");
  fmt::print(fmt::runtime(kHead), "", "", "weights      KV", "that fit", "", "ms/token", "ms", "tok/s", "tok/s",
             "M tokens", "bound", "");
  for (size_t i = 0; i < std::min(plan.layouts.size(), kShown); i++)
    print_row(plan.layouts[i], r, static_cast<int>(i) == plan.choice);
  print_rest(plan);
}

void print_reasons(const Plan& plan) {
  fmt::print("\n");
  for (size_t i = 0; i < std::min(plan.layouts.size(), kShown); i++)
    fmt::print("{} {}: {}\n", static_cast<int>(i) == plan.choice ? "take" : "not", layout_name(plan.layouts[i]),
               printable(plan.layouts[i].reason));
  print_rest(plan);
}

// The lines that start a run so.
void print_start(const LayoutPlan& l, const PlannedModel& model, const Cluster& c, const Options& o,
                 const PlanRequest& r) {
  if (const std::string missing = missing_in_trireme(model); !missing.empty()) {
    fmt::print("\nTrireme cannot run this: it has no {}\n", missing);
    return;
  }
  fmt::print("\nstart it:\n");
  for (const std::string& line : start_lines(l, model, c, o, r)) fmt::print("  {}\n", line);
}

void print_text(const Plan& plan, const PlanQuestion& question, const PlannedModel& model, const Options& options) {
  const PlanRequest& request = question.request;
  print_heading(model, question.cluster, question.profile, request);
  print_table(plan, question.cluster, request);
  print_reasons(plan);
  const std::vector<std::string> advice = give_advice(plan, question);
  for (size_t i = 0; i < advice.size(); i++) fmt::print("{}{}\n", i == 0 ? "\n" : "", advice[i]);
  if (plan.choice >= 0)
    print_start(plan.layouts[static_cast<size_t>(plan.choice)], model, question.cluster, options, request);
}

}  // namespace

int plan_command(const Options& options, const Environment& environment) {
  const auto [cluster, profile] = PlannedMachine::of(options, environment);
  const PlannedModel model = PlannedModel::of(options, profile);
  const PlanRequest request = plan_request(options);
  const auto at_precision = [&options, &profile = profile](Precision precision) {
    Options lower = options;
    lower.precision = precision_name(precision);
    return PlannedModel::of(lower, profile).work;
  };
  const PlanQuestion question{*model.work, cluster, profile, request, at_precision};
  const Plan plan = plan_layouts(question);
  if (options.json)
    print_json(plan, model, request);
  else
    print_text(plan, question, model, options);
  if (plan.choice < 0)
    fail(ExitCode::configuration, "nothing fits: {}; {}", plan.layouts.front().reason, nearest_fit(plan, question));
  return 0;
}

}  // namespace trireme
