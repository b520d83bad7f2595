#include "plan/nearest_fit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/error.h"
#include "plan/reasons.h"

namespace trireme {

namespace {

constexpr int kUsualDevices = 8;  // of a host of GPUs, at most
constexpr int kMostGrowth = 64;   // of a machine, that is still the same question

class Ways {
 public:
  Ways(const Plan& plan, const PlanQuestion& question)
      : plan_(plan), question_(question), memory_fits_(plan.layouts.front().fits) {}

  std::vector<std::string> find() {
    if (!question_.is_free()) another_layout();
    slow_links();
    fewer_bits();
    if (question_.request.batch > 1) smaller_batch();
    if (!memory_fits_) shorter_context();
    if (memory_fits_) weaker_promises();
    if (question_.request.rate > 0) lower_rate();
    if (question_.is_free()) larger_machine();
    return ways_;
  }

 private:
  // The layout to take; none where nothing fits. What cannot be asked of a changed model does not fit it either.
  std::optional<LayoutPlan> best(const PlanQuestion& changed) const {
    try {
      const Plan plan = plan_layouts(changed);
      if (plan.choice >= 0) return plan.layouts[static_cast<size_t>(plan.choice)];
    } catch (const Error& e) {
      if (e.code() != ExitCode::configuration) throw;
    }
    return std::nullopt;
  }

  void offer(const std::string& change, const std::optional<LayoutPlan>& best) {
    if (best) ways_.push_back(fmt::format("{} with {}", change, layout_name(*best)));
  }

  template <typename Measure>
  double most(const Measure& measure) const {
    double found = 0;
    for (const LayoutPlan& l : plan_.layouts) found = std::max(found, measure(l));
    return found;
  }

  void another_layout() {
    PlanRequest free = question_.request;
    free.degrees = {};
    if (const auto other = best(question_.with(free))) ways_.push_back(layout_name(*other));
  }

  void slow_links() {
    const LayoutPlan& l = plan_.layouts.front();
    if (!l.answers()) return;
    PlanRequest by_hand = question_.request;
    by_hand.degrees.tp = l.tp;
    offer(fmt::format("--tp {}", l.tp), best(question_.with(by_hand)));
  }

  void fewer_bits() {
    for (Precision p : question_.lower_precisions()) {
      const auto model = question_.at_precision(p);
      const auto lower = best(question_.with(*model));
      offer(fmt::format("--precision {}", precision_name(p)), lower);
      if (lower) return;
    }
  }

  // What `ask` answers of the largest number from `few`, and below `many`, that it has an answer to, and sets `few` to
  // that number. Times and memory only grow with it.
  template <typename Ask>
  static std::optional<LayoutPlan> largest(double& few, double many, const Ask& ask) {
    std::optional<LayoutPlan> found = ask(few);
    while (found && many - few > 1) {
      const double middle = std::floor((few + many) / 2);
      const auto better = ask(middle);
      (better ? few : many) = middle;
      if (better) found = better;
    }
    return found;
  }

  void smaller_batch() {
    PlanRequest r = question_.request;
    const auto fits = [&](double batch) {
      r.batch = batch;
      return best(question_.with(r));
    };
    double batch = 1;
    const double room = most([](const LayoutPlan& l) { return l.max_sequences; });
    const auto found = largest(batch, std::min(question_.request.batch, room + 1), fits);
    offer(fmt::format("--batch {:.0f}", batch), found);
  }

  void shorter_context() {
    PlanRequest r = question_.request;
    // Of --context alone: prompts of that length.
    const bool of_prompts = r.input_tokens == r.context && r.position == r.context;
    const auto input = [&](double context) {
      return of_prompts ? context : std::min(question_.request.input_tokens, context - r.output_tokens);
    };
    const auto fits = [&](double context) {
      r.context = context;
      r.input_tokens = input(context);
      r.position = of_prompts ? context : r.input_tokens + r.output_tokens / 2;
      return best(question_.with(r));
    };
    double context = of_prompts ? 1 : r.output_tokens + 1;
    if (context >= question_.request.context) return;
    const auto found = largest(context, question_.request.context, fits);
    offer(fmt::format("--context {:.0f}{}", context,
                      of_prompts ? "" : fmt::format(" --input-len {:.0f}", input(context))),
          found);
  }

  // How many times the promised times a layout takes.
  double excess(const LayoutPlan& l) const {
    const auto over = [](double ms, double promised) { return promised > 0 ? ms / promised : 0; };
    return std::max(over(l.performance.ttft_ms, question_.request.slo_ttft_ms),
                    over(l.performance.decode_ms, question_.request.slo_tpot_ms));
  }

  // Those that the layout nearest to keeping them keeps.
  void weaker_promises() {
    const LayoutPlan* nearest = &plan_.layouts.front();
    for (const LayoutPlan& l : plan_.layouts)
      if (l.fits && excess(l) < excess(*nearest)) nearest = &l;
    if (excess(*nearest) <= 1) return;
    PlanRequest r = question_.request;
    std::string change;
    const auto weaken = [&](const char* option, double& promised, double ms) {
      if (promised == 0 || ms <= promised) return;
      promised = std::ceil(ms * 10) / 10;
      change += fmt::format("{}{} {}", change.empty() ? "" : " ", option, promised);
    };
    weaken("--slo-ttft", r.slo_ttft_ms, nearest->performance.ttft_ms);
    weaken("--slo-tpot", r.slo_tpot_ms, nearest->performance.decode_ms);
    offer(change, best(question_.with(r)));
  }

  // The most that is answered, in three digits that are surely below it.
  void lower_rate() {
    PlanRequest r = question_.request;
    r.rate = 0, r.objective = Objective::throughput;
    const auto fastest = best(question_.with(r));
    if (!fastest) return;
    const double possible = 0.99 * fastest->tokens_per_s / r.output_tokens;
    const double digit = std::pow(10, std::floor(std::log10(possible)) - 2);
    r = question_.request;
    r.rate = std::floor(possible / digit) * digit;
    offer(fmt::format("--rate {:.3g}", r.rate), best(question_.with(r)));
  }

  static Cluster larger(const Cluster& c) {
    if (c.hosts > 1 || c.device.cpu || c.devices >= kUsualDevices) return c.with_hosts(2 * c.hosts);
    return c.with_devices(std::min(kUsualDevices, 2 * c.devices));
  }

  void larger_machine() {
    const int most = std::min(kMostGrowth * question_.cluster.most_ranks(), Cluster::kMostDevices);
    for (Cluster c = larger(question_.cluster); c.most_ranks() <= most; c = larger(c)) {
      const auto found = best(question_.with(c));
      offer(c.text(), found);
      if (found) return;
    }
  }

  const Plan& plan_;
  const PlanQuestion& question_;
  const bool memory_fits_;
  std::vector<std::string> ways_;
};

// "this, or that would fit"; "" where no single change is enough.
std::string ways_text(const Plan& plan, const PlanQuestion& question) {
  const std::vector<std::string> ways = Ways(plan, question).find();
  return ways.empty() ? "" : fmt::format("{} would fit", fmt::join(ways, ", or "));
}

// What a question asks for beside a place in memory is dropped, and said.
std::string drop_promises(PlanRequest& r) {
  std::vector<std::string> dropped;
  const auto drop = [&](const char* option, double& asked) {
    if (std::exchange(asked, 0) > 0) dropped.emplace_back(option);
  };
  drop("--slo-ttft", r.slo_ttft_ms), drop("--slo-tpot", r.slo_tpot_ms), drop("--rate", r.rate);
  return fmt::format("{}", fmt::join(dropped, " and "));
}

// With less asked for: "TP 2 would fit", or what else would; "" where nothing does.
std::string fit_of(const PlanQuestion& question) {
  const Plan plan = plan_layouts(question);
  if (plan.choice < 0) return ways_text(plan, question);
  const LayoutPlan& l = plan.layouts.front();
  return fmt::format("{} would fit, at {:.4g} ms a token, TTFT {:.4g} ms, {:.3g} requests/s", layout_name(l),
                     l.performance.decode_ms, l.performance.ttft_ms, l.tokens_per_s / question.request.output_tokens);
}

// Where no single change is enough: without promises, then for one sequence, then in fewer bits, too.
std::string several_changes(const PlanQuestion& question) {
  PlanRequest r = question.request;
  std::vector<std::string> changes;
  const auto changed = [&](const ModelWork& model) {
    const std::string fit = fit_of(question.with(model).with(r));
    return fit.empty() ? "" : fmt::format("{}: {}", fmt::join(changes, ", "), fit);
  };
  if (const std::string promises = drop_promises(r); !promises.empty()) {
    changes.push_back("without " + promises);
    if (std::string fit = changed(question.model); !fit.empty()) return fit;
  }
  if (r.batch > 1) {
    r.batch = 1;
    changes.emplace_back("at --batch 1");
    if (std::string fit = changed(question.model); !fit.empty()) return fit;
  }
  for (Precision p : question.lower_precisions()) {
    changes.push_back(fmt::format("at --precision {}", precision_name(p)));
    if (std::string fit = changed(*question.at_precision(p)); !fit.empty()) return fit;
    changes.pop_back();
  }
  return "";
}

}  // namespace

std::string nearest_fit(const Plan& plan, const PlanQuestion& question) {
  if (std::string ways = ways_text(plan, question); !ways.empty()) return ways;
  if (std::string ways = several_changes(question); !ways.empty()) return ways;
  return "nothing near it would; ask for a smaller model, a shorter context or other devices";
}

}  // namespace trireme
