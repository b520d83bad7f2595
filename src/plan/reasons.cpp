#include "plan/reasons.h"

#include <fmt/format.h>

#include <algorithm>
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
                     r.context, gb(sequences * r.context * l.memory.position_bytes), gb(l.memory.cache_bytes),
                     l.max_sequences);
}

std::string slo_reason(const LayoutPlan& l, const PlanRequest& r) {
  const Performance& p = l.performance;
  if (r.slo_ttft_ms > 0 && p.ttft_ms > r.slo_ttft_ms)
    return fmt::format("TTFT {:.0f} ms, {:.0f} wanted", p.ttft_ms, r.slo_ttft_ms);
  if (r.slo_tpot_ms > 0 && p.decode_ms > r.slo_tpot_ms)
    return fmt::format("{:.1f} ms a token, {:.1f} wanted", p.decode_ms, r.slo_tpot_ms);
  return fmt::format("{:.1f} requests/s wanted, {:.1f} possible", r.rate, l.tokens_per_s / r.output_tokens);
}

struct Question {
  const ModelWork& model;
  const Cluster& cluster;
  const PlanRequest& request;
};

// Where the links are, when a group's all-reduce is what costs. Ranks that may divide CPUs stand evenly on all hosts.
std::string where(const LayoutPlan& l, const Cluster& cluster) {
  const Cluster c = cluster.divided((l.devices() + cluster.hosts - 1) / cluster.hosts);
  const GroupPlace group = GroupPlace::of(c, l.tp);
  if (group.hosts > 1 && c.fast_domain() < l.tp) return fmt::format(" over {} hosts", group.hosts);
  if (c.link == Link::pcie) return " on PCIe";
  if (c.link == Link::nvlink_pairs && l.tp > 2) return " over NVLink pairs and PCIe";
  return "";
}

// The figure that decided, of a layout and of the chosen one.
std::string figures(const LayoutPlan& l, const LayoutPlan& best, const PlanRequest& r) {
  if (r.objective == Objective::latency)
    return fmt::format("{:.1f} ms a token, {} {:.1f}", l.performance.decode_ms, layout_name(best),
                       best.performance.decode_ms);
  return fmt::format("{:.0f} tok/s, {} {:.0f}, {:.1f}x", l.tokens_per_s, layout_name(best), best.tokens_per_s,
                     best.tokens_per_s / l.tokens_per_s);
}

std::string slower_reason(const LayoutPlan& l, const LayoutPlan& best, const Question& q) {
  const StepCost& step = l.performance.step;
  const double reduce = step.reduce_ms / step.total_ms();
  const std::string figure = figures(l, best, q.request), links = where(l, q.cluster);
  const std::string all_reduce =
      fmt::format("TP {}{}: all-reduce is {:.0f} % of the step; {}", l.tp, links, reduce * 100, figure);
  if (l.tp > best.tp && reduce > 0.2 && !links.empty()) return all_reduce;
  if (best.dp > l.dp && best.pp == l.pp)
    return fmt::format("{} fits {} {}{}: {} replicas give {:.1f}x {}; {}", q.model.name(), best.tp * best.pp,
                       q.cluster.cores > 0 ? "rank" : "device", best.tp * best.pp == 1 ? "" : "s", best.dp,
                       best.tokens_per_s / l.tokens_per_s, layout_name(l), figure);
  if (l.tp > best.tp && reduce > 0.2) return all_reduce;
  if (l.pp > best.pp)
    return fmt::format("a token passes {} stages one after the other, whose weights are read in turn; {}", l.pp,
                       figure);
  const bool many = q.request.objective != Objective::latency && q.request.batch == 0;
  if (l.max_sequences < best.max_sequences && many)
    return fmt::format("room for {} sequences, {} has {}; {}", l.max_sequences, layout_name(best), best.max_sequences,
                       figure);
  if (l.tp < best.tp) return fmt::format("fewer devices read the weights of each token; {}", figure);
  return figure;
}

std::string chosen_reason(const LayoutPlan& l, const PlanRequest& r) {
  const char* what = r.objective == Objective::latency      ? "the fastest tokens"
                     : r.objective == Objective::throughput ? "the most tokens a second"
                                                            : "the cheapest tokens";
  return fmt::format("{} of those that fit: {:.1f} GB of weights a device leave room for {} x {}; limited by {}", what,
                     gb(l.memory.weight_bytes), l.max_sequences, r.context, l.limiting_factor);
}

}  // namespace

std::string layout_name(const LayoutPlan& l) {
  std::string name;
  for (auto [letter, degree] : {std::pair{"TP", l.tp}, {"PP", l.pp}, {"DP", l.dp}})
    if (degree > 1) name += fmt::format("{}{} {}", name.empty() ? "" : " x ", letter, degree);
  return name.empty() ? "1 device" : name;
}

std::string limiting_factor(const LayoutPlan& l) {
  if (!l.memory.weights_fit()) return "weights do not fit";
  if (!l.fits) return "KV cache";
  const Performance& p = l.performance;
  if (p.queue_ms > 0) return "queueing";
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

void give_reasons(Plan& plan, const ModelWork& model, const Cluster& cluster, const PlanRequest& request) {
  const Question question{model, cluster, request};
  for (size_t i = 0; i < plan.layouts.size(); i++) {
    LayoutPlan& l = plan.layouts[i];
    if (!l.memory.weights_fit())
      l.reason = weights_reason(l);
    else if (!l.fits)
      l.reason = cache_reason(l, request);
    else if (!l.meets_slo)
      l.reason = slo_reason(l, request);
    else if (static_cast<int>(i) == plan.choice)
      l.reason = chosen_reason(l, request);
    else
      l.reason = slower_reason(l, plan.layouts[static_cast<size_t>(plan.choice)], question);
  }
}

}  // namespace trireme
