#include "plan/advice.h"

#include <fmt/core.h>

#include "plan/reasons.h"

namespace trireme {

namespace {

using Advice = std::vector<std::string>;

// Of those that fit, the one with the least of something; null when none fits.
template <typename Measure>
const LayoutPlan* least(const Plan& plan, const Measure& measure) {
  const LayoutPlan* found = nullptr;
  for (const LayoutPlan& l : plan.layouts)
    if (l.acceptable() && (!found || measure(l) < measure(*found))) found = &l;
  return found;
}

const LayoutPlan* smallest(const Plan& plan) {
  return least(plan, [](const LayoutPlan& l) { return l.tp * l.pp * 1000 + l.pp; });
}

// Where ranks divide a host's CPUs, one rank is as much of them as the layout leaves it: that a replica takes few says
// nothing.
bool ranks_are_devices(const Cluster& cluster) { return cluster.cores == 0; }

std::string layout_of_replica(const Degrees& d) { return layout_name({d.tp, d.pp, 1}); }

void smallest_that_fits(Advice& advice, const Plan& plan, const PlanRequest& r) {
  const LayoutPlan* l = smallest(plan);
  if (!l) return;
  advice.push_back(fmt::format("smallest that fits{}: {}, {:.1f} GB of weights a device and room for {} x {}",
                               r.has_promises() ? " and keeps the promised times" : "", layout_of_replica(*l),
                               l->memory.weight_bytes / 1e9, l->max_sequences, r.context));
}

// "fp8", and what comes with it.
std::string weights_name(const ModelWork& lower, const ModelWork& own) {
  const std::string name = precision_name(lower.precision());
  return lower.kv_bytes() == own.kv_bytes() ? name
                                            : fmt::format("{} and {}-byte keys and values", name, lower.kv_bytes());
}

// Of a lower precision, beside those of the model's own.
std::string devices_needed(const Plan& plan, const Plan& lower, Precision own_precision) {
  const LayoutPlan *own = smallest(plan), *fewest = smallest(lower);
  if (own && own->tp * own->pp <= fewest->tp * fewest->pp) return "needs no fewer devices";
  return fmt::format(
      "fits {}{}", layout_of_replica(*fewest),
      own ? fmt::format(" where {} needs {}", precision_name(own_precision), layout_of_replica(*own)) : "");
}

void quantize_first(Advice& advice, const Plan& plan, const PlanQuestion& question) {
  const LayoutPlan* now = plan.choice < 0 ? nullptr : &plan.layouts[static_cast<size_t>(plan.choice)];
  for (Precision p : question.lower_precisions()) {
    const auto quantized = question.at_precision(p);
    const Plan lower = plan_layouts(question.with(*quantized));
    if (lower.choice < 0) continue;
    const LayoutPlan* best = &lower.layouts[static_cast<size_t>(lower.choice)];
    std::string line = fmt::format(
        "at {} it {}", weights_name(*quantized, question.model),
        ranks_are_devices(question.cluster) ? devices_needed(plan, lower, question.model.precision()) : "fits");
    // Of requests at a rate every layout makes as many tokens.
    if (now && (question.request.objective == Objective::latency || question.request.rate > 0))
      line += fmt::format("; {}: {:.1f} ms a token in place of {:.1f}", layout_name(*best), best->performance.decode_ms,
                          now->performance.decode_ms);
    else
      line += fmt::format("; {}: {} tok/s{}", layout_name(*best), short_number(best->tokens_per_s),
                          now ? " in place of " + short_number(now->tokens_per_s) : "");
    advice.push_back(line);
  }
}

void replicas_or_tp(Advice& advice, const Plan& plan) {
  const LayoutPlan* small = smallest(plan);
  const LayoutPlan* wide = least(plan, [](const LayoutPlan& l) { return l.pp * 1e6 - l.tp; });
  if (!small || !wide || small == wide || small->dp == wide->dp) return;
  advice.push_back(fmt::format("{} gives {:.1f}x the tokens of {}, and {:.1f}x its time for a token",
                               layout_name(*small), small->tokens_per_s / wide->tokens_per_s, layout_name(*wide),
                               small->performance.decode_ms / wide->performance.decode_ms));
}

// One replica on all hosts, with a stage on each or with one group over them: the best of either.
void over_hosts(Advice& advice, const Plan& plan, const Cluster& c) {
  if (c.hosts == 1) return;
  const auto on_all = [&](const LayoutPlan& l) {
    return ranks_are_devices(c) ? l.devices() == c.size() : l.devices() % c.hosts == 0;
  };
  const auto best = [&](int pp) -> const LayoutPlan* {
    for (const LayoutPlan& l : plan.layouts)  // the best first
      if (l.fits && l.dp == 1 && l.pp == pp && on_all(l)) return &l;
    return nullptr;
  };
  const LayoutPlan *staged = best(c.hosts), *wide = best(1);
  if (!staged || !wide) return;
  advice.push_back(fmt::format("over hosts: {} takes {:.1f} ms a token and gives {} tok/s, {} {:.1f} and {}",
                               layout_name(*staged), staged->performance.decode_ms, short_number(staged->tokens_per_s),
                               layout_name(*wide), wide->performance.decode_ms, short_number(wide->tokens_per_s)));
}

void interactive_or_offline(Advice& advice, const PlanQuestion& question) {
  PlanRequest request = question.request;
  request.batch = request.rate = request.slo_ttft_ms = request.slo_tpot_ms = 0;
  request.objective = Objective::latency;
  const Plan one = plan_layouts(question.with(request));
  request.objective = Objective::throughput;
  const Plan many = plan_layouts(question.with(request));
  if (one.choice < 0 || many.choice < 0) return;
  const LayoutPlan &a = one.layouts.front(), &b = many.layouts.front();
  advice.push_back(
      fmt::format("interactive, one user a replica: {}, {:.1f} ms a token, TTFT {:.0f} ms; offline: {}, {} tok/s "
                  "at {:.1f} ms a token",
                  ranks_are_devices(question.cluster) ? layout_of_replica(a) : layout_name(a), a.performance.decode_ms,
                  a.performance.ttft_ms, layout_name(b), short_number(b.tokens_per_s), b.performance.decode_ms));
}

}  // namespace

std::vector<std::string> give_advice(const Plan& plan, const PlanQuestion& question) {
  Advice advice;
  if (!question.is_free()) return advice;
  const bool devices = ranks_are_devices(question.cluster);
  if (devices) smallest_that_fits(advice, plan, question.request);
  quantize_first(advice, plan, question);
  if (devices) replicas_or_tp(advice, plan);
  over_hosts(advice, plan, question.cluster);
  interactive_or_offline(advice, question);
  return advice;
}

}  // namespace trireme
