#include "plan/reasons.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "plan/collectives.h"

namespace trireme {

namespace {

double gb(double bytes) { return bytes / 1e9; }

std::string weights_reason(const LayoutPlan& l) {
  return fmt::format("weights do not fit: {:.1f} GB of them and {:.1f} GB of workspace, {:.1f} GB on a device",
                     gb(l.memory.weight_bytes), gb(l.memory.workspace_bytes), gb(l.memory.device_bytes));
}

std::string cache_reason(const LayoutPlan& l, const PlanRequest& r) {
  const double sequences = std::max(1.0, r.batch);
  return fmt::format("weights fit, KV for {} x {} does not: {:.1f} GB needed, {:.1f} there; {} fit", sequences,
                     r.context, gb(sequences * l.memory.sequence_bytes), gb(l.memory.cache_bytes), l.max_sequences);
}

std::string slo_reason(const LayoutPlan& l, const PlanRequest& r) {
  const Performance& p = l.performance;
  const auto rate = [&] {
    return fmt::format("{} requests/s wanted, {} possible", r.rate, short_number(l.tokens_per_s / r.output_tokens));
  };
  if (!p.keeps_up()) return rate();
  if (r.slo_ttft_ms > 0 && p.ttft_ms > r.slo_ttft_ms)
    return fmt::format("TTFT {:.0f} ms, {} wanted", p.ttft_ms, r.slo_ttft_ms);
  if (r.slo_tpot_ms > 0 && p.decode_ms > r.slo_tpot_ms)
    return fmt::format("{:.1f} ms a token, {} wanted", p.decode_ms, r.slo_tpot_ms);
  return rate();
}

// Where the links are, when a group's all-reduce is what costs. Ranks that may divide CPUs stand evenly on all hosts.
std::string where(const LayoutPlan& l, const Cluster& cluster) {
  const Cluster c = cluster.divided((l.devices() + cluster.hosts - 1) / cluster.hosts);
  const GroupPlace group = GroupPlace::of(c, l.tp);
  if (group.hosts > 1 && c.fast_domain() < l.tp) return fmt::format(" over {} hosts", group.hosts);
  if (c.link == Link::pcie) return " on PCIe";
  if (c.link == Link::nvlink_pairs && l.tp > c.fast_domain()) return " over NVLink bridges and PCIe";
  return "";
}

double percent_more(double a, double b) { return std::max(0.0, std::round(100 * (a / b - 1))); }

// "1.6x", or "4 % more" of what is no round multiple.
std::string times(double ratio) {
  return ratio >= 1.1 ? fmt::format("{:.1f}x", ratio) : fmt::format("{:.0f} % more", percent_more(ratio, 1));
}

// Two costs of a million tokens; the devices, where the layouts differ in them. Of ranks that divide CPUs hosts are
// paid for.
std::string costs(const LayoutPlan& l, const LayoutPlan& best, const PlanQuestion& q) {
  const auto cost = [&](const LayoutPlan& one) {
    const bool counts = q.cluster.cores == 0 && l.devices() != best.devices();
    return fmt::format("{:.{}f}{}", one.cost_per_million, one.cost_per_million < 1 ? 4 : 2,
                       counts ? fmt::format(" on {} device{}", one.devices(), one.devices() == 1 ? "" : "s") : "");
  };
  const char* unit = q.request.gpu_hour > 0 ? "cost" : q.cluster.cores > 0 ? "host hours" : "device hours";
  return fmt::format("{} of a million tokens {}, {} {}", unit, cost(l), layout_name(best), cost(best));
}

// The figure that decided, of a layout and of the chosen one.
std::string figures(const LayoutPlan& l, const LayoutPlan& best, const PlanQuestion& q) {
  const std::string name = layout_name(best);
  switch (q.request.objective) {
    case Objective::latency:
      return fmt::format("{:.1f} ms a token, {} {:.1f}", l.performance.decode_ms, name, best.performance.decode_ms);
    case Objective::throughput:
      return fmt::format("{} tok/s, {} {}", short_number(l.tokens_per_s), name, short_number(best.tokens_per_s));
    case Objective::cost:
      return costs(l, best, q);
  }
  return "";
}

// Why the simpler one is taken; "" where that is the other one, which is worse by a hair.
std::string preference(const LayoutPlan& l, const LayoutPlan& best) {
  if (l.pp > best.pp) return "; fewer stages preferred";
  if (l.tp > best.tp) return "; narrower TP preferred";
  return l.dp > best.dp ? "; fewer replicas preferred" : "";
}

// Of one whose figure is as good as the chosen one's or better, but not by what its width and depth must gain.
std::string simpler_reason(const LayoutPlan& l, const LayoutPlan& best, const PlanQuestion& q) {
  const double percent = percent_more(merit(l, q.request.objective), merit(best, q.request.objective));
  const bool close = percent < 100 * l.expected_error;
  return fmt::format("{}: {}{}{}", figures(l, best, q),
                     percent > 0 ? fmt::format("{:.0f} % better", percent) : "no better",
                     percent > 0 && close ? ", within what the model can tell" : "", preference(l, best));
}

std::string replicas_reason(const LayoutPlan& l, const LayoutPlan& best, const PlanQuestion& q) {
  return fmt::format("{} fits {} {}{}: {} replicas give {:.1f}x {}", q.model.name(), best.tp * best.pp,
                     q.cluster.cores > 0 ? "rank" : "device", best.tp * best.pp == 1 ? "" : "s", best.dp,
                     best.tokens_per_s / l.tokens_per_s, layout_name(l));
}

// What holds a layout back beside the chosen one.
std::string obstacle(const LayoutPlan& l, const LayoutPlan& best, const PlanQuestion& q) {
  const PlanRequest& r = q.request;
  const double reduce = l.performance.step.reduce_ms / l.performance.step.total_ms();
  const std::string links = where(l, q.cluster);
  const std::string all_reduce = fmt::format("TP {}{}: all-reduce is {:.0f} % of the step", l.tp, links, reduce * 100);
  if (l.tp > best.tp && reduce > 0.2 && !links.empty()) return all_reduce;
  const bool cheap_rate = r.objective == Objective::cost && r.rate > 0;
  if (cheap_rate && l.devices() > best.devices()) return "more devices than the rate needs";
  if (best.dp > l.dp && best.pp == l.pp && best.tokens_per_s >= 1.1 * l.tokens_per_s)
    return replicas_reason(l, best, q);
  if (l.tp > best.tp && reduce > 0.2) return all_reduce;
  if (l.pp > best.pp)
    return fmt::format("a token passes {} stages one after the other, whose weights are read in turn", l.pp);
  const bool many = r.objective != Objective::latency && r.batch == 0 && r.rate == 0;
  if (many && r.has_promises() && l.wanted < std::min(l.max_sequences, best.wanted))
    return fmt::format("the promised times are kept with {:.0f} in flight a replica, {} with {:.0f}", l.wanted,
                       layout_name(best), best.wanted);
  if (many && l.max_sequences < best.max_sequences)
    return fmt::format("room for {} sequences, {} has {}", l.max_sequences, layout_name(best), best.max_sequences);
  if (l.tp < best.tp) return "fewer devices read the weights of each token";
  return "limited by " + l.limiting_factor;
}

std::string slower_reason(const LayoutPlan& l, const LayoutPlan& best, const PlanQuestion& q) {
  const Objective objective = q.request.objective;
  const double ratio = merit(best, objective) / merit(l, objective);
  if (ratio < 1.005) return simpler_reason(l, best, q);
  return fmt::format("{}; {}{}", obstacle(l, best, q), figures(l, best, q),
                     objective == Objective::throughput ? ", " + times(ratio) : "");
}

// Of a layout that a run's auto layout does not make. Where it is the slower one, too, that is said behind it, and of
// groups over hosts alone, which a run does not refuse.
std::string slow_links_reason(const LayoutPlan& l, const LayoutPlan* best, const PlanQuestion& q) {
  const bool slower = best && merit(*best, q.request.objective) >= 1.005 * merit(l, q.request.objective);
  const std::string beside = !best ? "" : slower ? slower_reason(l, *best, q) : figures(l, *best, q);
  if (is_refused(l.link))
    return fmt::format("TP {} reaches over {}: run refuses it without --allow-slow-placement{}{}", l.tp,
                       link_class_name(l.link), beside.empty() ? "" : "; ", beside);
  if (slower) return beside;
  return fmt::format("TP {} reaches over {}, which run does by --tp {} alone{}{}", l.tp, link_class_name(l.link), l.tp,
                     beside.empty() ? "" : "; ", beside);
}

// Which layouts the chosen one is the best of.
std::string field_of(const LayoutPlan& l, const Plan& plan, const PlanRequest& r) {
  const bool slow_better = std::ranges::any_of(plan.layouts, [&](const LayoutPlan& other) {
    return other.answers() && other.by_hand_only && merit(other, r.objective) > merit(l, r.objective);
  });
  return fmt::format("those that {}{}", r.rate > 0 ? fmt::format("answer {} requests/s", r.rate) : "fit",
                     slow_better ? " without slow links" : "");
}

// A layout with more stages or wider TP may have a better figure; then it is said by how much. At a rate all make as
// many tokens.
std::string chosen_reason(const LayoutPlan& l, const Plan& plan, const PlanRequest& r) {
  const bool alike = r.objective == Objective::throughput && r.rate > 0;
  const char* what = r.objective == Objective::latency ? "the fastest tokens"
                     : r.objective == Objective::cost  ? "the cheapest tokens"
                     : alike                           ? "the simplest"
                                                       : "the most tokens a second";
  double most = 0;
  for (const LayoutPlan& other : plan.layouts)
    if (other.acceptable()) most = std::max(most, merit(other, r.objective));
  const double behind = alike ? 0 : percent_more(most, merit(l, r.objective));
  std::string reason = fmt::format("{}{} of {}{}: {:.1f} GB of weights a device leave room for {} x {}; limited by {}",
                                   behind > 0 ? fmt::format("within {:.0f} % of ", behind) : "", what,
                                   field_of(l, plan, r), behind > 0 ? ", and simpler than what is better" : "",
                                   gb(l.memory.weight_bytes), l.max_sequences, r.context, l.limiting_factor);
  if (is_refused(l.link))
    reason += fmt::format("; TP {} reaches over {}: run takes it with --allow-slow-placement alone", l.tp,
                          link_class_name(l.link));
  return reason;
}

}  // namespace

std::string short_number(double x) { return x == 0 || x >= 9.95 ? fmt::format("{:.0f}", x) : fmt::format("{:.2g}", x); }

std::string layout_name(const Degrees& d) {
  std::string name;
  for (auto [letter, degree] : {std::pair{"TP", d.tp}, {"PP", d.pp}, {"DP", d.dp}})
    if (degree > 1) name += fmt::format("{}{} {}", name.empty() ? "" : " x ", letter, degree);
  return name.empty() ? "1 device" : name;
}

std::string limiting_factor(const LayoutPlan& l) {
  if (!l.memory.weights_fit()) return "weights do not fit";
  if (!l.fits) return "KV cache";
  const Performance& p = l.performance;
  if (!p.keeps_up() || p.queue_ms > p.ttft_ms / 2) return "queueing";
  const StepCost& s = p.step;
  const bool arithmetic = s.arithmetic_ms > s.weights_ms;
  const std::vector<std::pair<double, const char*>> parts = {{p.decode_ms - s.total_ms(), "prefill"},
                                                             {s.products_ms, arithmetic ? "arithmetic" : "weights"},
                                                             {s.cache_ms, "cache reading"},
                                                             {s.layers_ms, "layers"},
                                                             {s.reduce_ms, "all-reduce"},
                                                             {s.hops_ms, "hops"},
                                                             {s.fixed_ms, "fixed"}};
  return std::max_element(parts.begin(), parts.end())->second;
}

void give_reasons(Plan& plan, const PlanQuestion& question) {
  const PlanRequest& request = question.request;
  const LayoutPlan* best = plan.choice < 0 ? nullptr : &plan.layouts[static_cast<size_t>(plan.choice)];
  for (size_t i = 0; i < plan.layouts.size(); i++) {
    LayoutPlan& l = plan.layouts[i];
    if (!l.memory.weights_fit())
      l.reason = weights_reason(l);
    else if (!l.fits)
      l.reason = cache_reason(l, request);
    else if (!l.meets_slo)
      l.reason = slo_reason(l, request);
    else if (static_cast<int>(i) == plan.choice)
      l.reason = chosen_reason(l, plan, request);
    else if (l.by_hand_only)
      l.reason = slow_links_reason(l, best, question);
    else
      l.reason = slower_reason(l, *best, question);
  }
}

}  // namespace trireme
