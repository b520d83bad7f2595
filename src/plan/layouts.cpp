#include "plan/layouts.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "plan/own_memory.h"
#include "plan/reasons.h"

namespace trireme {

namespace {

std::vector<int> divisors(int n) {
  std::vector<int> found;
  for (int d = 1; d <= n; d++)
    if (n % d == 0) found.push_back(d);
  return found;
}

// Widths that use hosts evenly: a part of one, or whole ones.
std::vector<int> tp_candidates(const PlanQuestion& q) {
  if (q.request.degrees.tp > 0) return {q.request.degrees.tp};
  std::set<int> widths;
  for (int d : divisors(q.cluster.devices)) widths.insert(d);
  for (int h : divisors(q.cluster.hosts)) widths.insert(h * q.cluster.devices);
  std::vector<int> possible;
  for (int tp : widths) {
    const bool even = q.model.config().num_heads % tp == 0;  // other engines cut heads evenly
    if (tp <= q.model.most_tp() && (even || q.profile.own())) possible.push_back(tp);
  }
  return possible;
}

bool is_one_layout(const Degrees& asked) { return asked == asked.least(); }

void check_asked(const PlanQuestion& q) {
  const Degrees asked = q.request.degrees, least = asked.least();
  if (asked.tp > q.model.most_tp())
    fail(ExitCode::configuration, "--tp {}: a layer of {} has {} units; at most that many ranks can share it", asked.tp,
         q.model.name(), q.model.most_tp());
  if (asked.pp > q.model.config().num_layers)
    fail(ExitCode::configuration, "--pp {}: {} has {} layers; at most that many stages", asked.pp, q.model.name(),
         q.model.config().num_layers);
  if (least.ranks() > q.cluster.most_ranks())
    fail(ExitCode::configuration, "{} = {} {}; {} has {}", degrees_name(least), least.ranks(),
         q.cluster.cores > 0 ? "ranks, which want a core each" : "devices", q.cluster.text(), q.cluster.most_ranks());
}

// Each layout has as many ranks as the least of what was asked for, or a multiple of them.
[[noreturn]] void refuse_uneven(const PlanQuestion& q) {
  const Degrees least = q.request.degrees.least();
  fail(ExitCode::configuration,
       "{} = {} rank{}: no layout of so many or a multiple uses {} evenly (as many ranks on each host, TP groups that "
       "divide a host or are whole hosts{}, at most {} stages); --tp {} --pp {} --dp {} takes no more ranks than these",
       degrees_name(least), least.ranks(), least.ranks() == 1 ? "" : "s", q.cluster.text(),
       q.profile.own() ? "" : fmt::format(" and divide {} heads", q.model.config().num_heads),
       q.model.config().num_layers, least.tp, least.pp, least.dp);
}

// Ranks of a host, where they divide its CPUs: of one layout those that hold it; of those with a given part what they
// fill; else what divides the cores.
std::vector<int> rank_counts(const Cluster& cluster, const Degrees& asked) {
  const int64_t least = asked.least().ranks();
  if (is_one_layout(asked)) return {static_cast<int>((least + cluster.hosts - 1) / cluster.hosts)};
  if (asked == Degrees{}) return divisors(cluster.cores);
  std::vector<int> filled;
  for (int ranks = 1; ranks <= cluster.cores; ranks++)
    if (int64_t{ranks} * cluster.hosts % least == 0) filled.push_back(ranks);
  return filled;
}

// The cluster as so many ranks a host may see it: one where devices are what they are.
std::vector<Cluster> divisions(const Cluster& cluster, const Degrees& asked) {
  if (cluster.cores == 0) return {cluster};
  std::vector<Cluster> all;
  for (int ranks : rank_counts(cluster, asked)) all.push_back(cluster.divided(ranks));
  return all;
}

class Planner {
 public:
  explicit Planner(const PlanQuestion& q)
      : model_(q.model), cluster_(q.cluster), profile_(q.profile), request_(q.request) {}

  LayoutPlan evaluate(const Degrees& degrees) const {
    LayoutPlan l{degrees};
    l.link = cluster_.slowest_group_link(l.tp, l.pp * l.dp);
    const CostModel cost(model_, model_.stages(l.tp, l.pp), cluster_, profile_, l.tp, l.pp);
    l.memory = plan_memory(model_, cost.stages(), profile_, cluster_, default_step_tokens(!cluster_.device.cpu),
                           request_.context);
    l.max_sequences = std::floor(l.memory.sequences());
    l.wanted = wanted_sequences(cost, l);
    l.fits = l.memory.weights_fit() && l.max_sequences >= std::max(1.0, request_.batch);
    const Workload work = load(l.wanted, l.memory.weights_fit() ? l.max_sequences : l.wanted);
    l.performance = request_.rate > 0 ? cost.at_rate(work, request_.rate / l.dp) : cost.steady(work);
    if (request_.rate > 0) l.wanted = l.performance.running;
    const double busy = request_.documents > 0 ? std::min<double>(l.dp, request_.documents) : l.dp;
    if (l.max_sequences >= 1) l.tokens_per_s = l.performance.tokens_per_s * busy;
    if (l.max_sequences >= 1 && others_wait(l))
      l.tokens_per_s = cost.steady(load(HUGE_VAL, work.capacity)).tokens_per_s * busy;
    if (request_.rate > 0) l.tokens_per_s = std::min(l.tokens_per_s, request_.rate * request_.output_tokens);
    l.meets_slo = within(l.performance) && (request_.rate == 0 || l.performance.keeps_up());
    l.bound_decode_ms = l.performance.step.bound_ms;
    l.bound_ttft_ms = l.performance.prefill.bound_ms;
    const double paid = parts_of_hosts() ? static_cast<double>(l.devices()) / cluster_.devices : l.devices();
    const double device_hours = l.tokens_per_s > 0 ? paid / l.tokens_per_s * 1e6 / 3600 : 0;
    l.cost_per_million = device_hours * (request_.gpu_hour > 0 ? request_.gpu_hour : 1);
    l.expected_error = expected_error(l);
    l.limiting_factor = limiting_factor(l);
    return l;
  }

  // As many replicas as there is room for; or, when a rate of requests is to cost little, as few as answer it.
  LayoutPlan with_replicas(int tp, int pp, int most) const {
    const bool few = request_.objective == Objective::cost && request_.rate > 0 && !parts_of_hosts();
    int least = few ? 1 : most;
    for (int end = most; least < end;) {  // more replicas answer what fewer do
      const int middle = least + (end - least) / 2;
      evaluate({tp, pp, middle}).answers() ? end = middle : least = middle + 1;
    }
    return evaluate({tp, pp, least});
  }

 private:
  // Ranks that share a host's CPUs, which are there and paid for however many ranks use them.
  bool parts_of_hosts() const { return cluster_.device.share < 1; }

  // Few have measured pipelines and groups over hosts: there the error is that of the worst tenth of the others.
  double expected_error(const LayoutPlan& l) const {
    const bool rare = l.pp > 1 || l.tp > cluster_.devices;
    if (cluster_.device.cpu && request_.objective != Objective::latency) return 0;  // nobody has measured it there
    if (model_.config().num_experts > 0) return rare ? profile_.expert_error_p90 : profile_.expert_error;
    if (cluster_.device.cpu) return rare ? profile_.cpu_decode_error_p90 : profile_.cpu_decode_error;
    if (request_.objective == Objective::latency) return rare ? profile_.decode_error_p90 : profile_.decode_error;
    return rare ? profile_.throughput_error_p90 : profile_.throughput_error;
  }

  Workload load(double sequences, double capacity) const {
    return {request_.input_tokens, request_.output_tokens, request_.position, sequences, std::max(1.0, capacity)};
  }

  bool within(const Performance& p) const {
    return (request_.slo_ttft_ms == 0 || p.ttft_ms <= request_.slo_ttft_ms) &&
           (request_.slo_tpot_ms == 0 || p.decode_ms <= request_.slo_tpot_ms);
  }

  // As many run as there is room for, and whose place is free is taken by another.
  bool others_wait(const LayoutPlan& l) const {
    const bool most = request_.batch == 0 && request_.rate == 0 && request_.objective != Objective::latency;
    return most && !request_.has_promises() && (request_.documents == 0 || request_.documents > l.wanted * l.dp);
  }

  double wanted_sequences(const CostModel& cost, const LayoutPlan& l) const {
    const double part = request_.documents > 0 ? std::ceil(request_.documents / l.dp) : HUGE_VAL;
    if (request_.batch > 0) return std::min(request_.batch, part);
    const double most = std::max(1.0, std::min({l.max_sequences, profile_.most_sequences, part}));
    if (request_.rate > 0) return most;
    if (request_.objective == Objective::latency) return 1;
    if (!request_.has_promises()) return most;
    return most_within(cost, most);
  }

  // The largest batch that keeps the promises: times only grow with it.
  double most_within(const CostModel& cost, double most) const {
    double few = 1, many = most + 1;
    while (many - few > 1) {
      const double middle = std::floor((few + many) / 2);
      (within(cost.steady(load(middle, most))) ? few : many) = middle;
    }
    return few;
  }

  const ModelWork& model_;
  const Cluster& cluster_;
  const EngineProfile& profile_;
  const PlanRequest& request_;
};

// Less is better. A wider replica and, more so, a deeper one must be worth its trouble.
double badness(const LayoutPlan& l, Objective objective) {
  return (1 + 0.01 * std::log2(l.tp) + 0.05 * std::log2(l.pp)) / merit(l, objective);
}

// Those of one division of a cluster, the question's own, that were asked for. whole: those that use all of it.
void add_layouts(Plan& plan, const PlanQuestion& q, bool whole) {
  const Planner planner(q);
  const Degrees& asked = q.request.degrees;
  for (int tp : tp_candidates(q)) {
    const int groups = q.cluster.size() / tp;
    const std::vector<int> depths = asked.pp > 0 ? std::vector<int>{asked.pp} : divisors(groups);
    for (int pp : depths) {
      const int most = pp > q.model.config().num_layers ? 0 : groups / pp;
      const int used = tp * pp * (asked.dp > 0 ? asked.dp : most);
      if (most < std::max(1, asked.dp) || (whole && used < q.cluster.size())) continue;
      LayoutPlan l = asked.dp > 0 ? planner.evaluate({tp, pp, asked.dp}) : planner.with_replicas(tp, pp, most);
      l.by_hand_only = is_slow(l.link) && asked.tp == 0;
      plan.layouts.push_back(std::move(l));
    }
  }
}

// The best first.
void rank(Plan& plan, const PlanQuestion& q) {
  std::stable_sort(plan.layouts.begin(), plan.layouts.end(), [&](const LayoutPlan& a, const LayoutPlan& b) {
    if (a.acceptable() != b.acceptable()) return a.acceptable();
    if (a.answers() != b.answers()) return a.answers();
    if (a.fits != b.fits) return a.fits;
    if (a.memory.weights_fit() != b.memory.weights_fit()) return a.memory.weights_fit();
    return a.fits ? badness(a, q.request.objective) < badness(b, q.request.objective)
                  : a.memory.cache_bytes > b.memory.cache_bytes;
  });
  if (!plan.layouts.empty() && plan.layouts.front().acceptable()) plan.choice = 0;
  give_reasons(plan, q);
}

}  // namespace

double merit(const LayoutPlan& l, Objective objective) {
  switch (objective) {
    case Objective::latency:
      return 1 / l.performance.decode_ms;
    case Objective::throughput:
      return l.tokens_per_s;
    case Objective::cost:
      return 1 / l.cost_per_million;
  }
  return 0;
}

Plan plan_layouts(const PlanQuestion& question) {
  check_asked(question);
  Plan plan;
  const Degrees& asked = question.request.degrees;
  // Cores that a number of ranks leaves idle are used by another number of them.
  const bool whole = question.cluster.cores > 0 && !is_one_layout(asked);
  for (const Cluster& division : divisions(question.cluster, asked)) add_layouts(plan, question.with(division), whole);
  if (plan.layouts.empty()) refuse_uneven(question);
  rank(plan, question);
  return plan;
}

Plan plan_layouts(const PlanQuestion& question, std::span<const Degrees> choices) {
  const Planner planner(question);
  Plan plan;
  for (const Degrees& d : choices) plan.layouts.push_back(planner.evaluate(d));
  rank(plan, question);
  return plan;
}

}  // namespace trireme
