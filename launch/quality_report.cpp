#include "launch/quality_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/math.h"
#include "launch/build_commit.h"
#include "quality/window_mean.h"

namespace trireme {

using nlohmann::ordered_json;

namespace {

// A figure with the ends of its interval; NaN, which JSON shows as null, where there is none.
struct Interval {
  double value, low, high;
};

Interval interval_of(const Estimate& e) {
  if (!e.margin) return {e.mean, NAN, NAN};
  return {e.mean, e.mean - *e.margin, e.mean + *e.margin};
}

// Of the mean of one figure of each window.
Interval mean_of(const Quality& quality, const std::function<double(const WindowQuality&)>& figure) {
  std::vector<WindowSum> sums;
  for (const WindowQuality& w : quality.windows) sums.push_back({figure(w), w.positions});
  return interval_of(mean_over(sums));
}

// A mean loss becomes a perplexity.
Interval exponential(const Interval& i) {
  auto e = [](double x) { return std::isnan(x) ? x : exact_exp(std::min(x, 700.0)); };
  return {e(i.value), e(i.low), e(i.high)};
}

Interval clipped(const Interval& i, double least, double most) {
  auto clip = [&](double x) { return std::isnan(x) ? x : std::clamp(x, least, most); };
  return {i.value, clip(i.low), clip(i.high)};
}

struct Figures {
  Interval perplexity{}, reference_perplexity{}, ratio{}, kl{}, agreement{};

  explicit Figures(const Quality& q) {
    perplexity = exponential(mean_of(q, [](auto& w) { return w.loss; }));
    if (!q.compared) return;
    reference_perplexity = exponential(mean_of(q, [](auto& w) { return w.reference_loss; }));
    ratio = exponential(mean_of(q, [](auto& w) { return w.loss - w.reference_loss; }));  // in pairs: the text cancels
    kl = clipped(mean_of(q, [](auto& w) { return w.kl; }), 0, INFINITY);
    agreement = clipped(mean_of(q, [](auto& w) { return static_cast<double>(w.agreements); }), 0, 1);
  }
};

ordered_json json_of(const Interval& i) { return {{"value", i.value}, {"low", i.low}, {"high", i.high}}; }

std::string text_of(const Interval& i, double scale = 1) {
  if (std::isnan(i.low)) return fmt::format("{:.6g}", i.value * scale);
  return fmt::format("{:.6g} ({:.6g} to {:.6g})", i.value * scale, i.low * scale, i.high * scale);
}

int64_t positions_of(const Quality& quality) {
  int64_t positions = 0;
  for (const WindowQuality& w : quality.windows) positions += w.positions;
  return positions;
}

void print_json(const Quality& q, const Figures& figures) {
  ordered_json line = {{"bench", "quality"},
                       {"tokens", q.tokens},
                       {"window", q.window},
                       {"unscored", q.unscored},
                       {"windows", q.windows.size()},
                       {"positions", positions_of(q)},
                       {"perplexity", json_of(figures.perplexity)}};
  ordered_json worst = {{"token", q.worst.token}};
  if (q.compared) {
    line["reference_perplexity"] = json_of(figures.reference_perplexity);
    line["perplexity_ratio"] = json_of(figures.ratio);
    line["kl"] = json_of(figures.kl);
    line["top1_agreement"] = json_of(figures.agreement);
    worst["kl"] = q.worst.value;
    worst["expected"] = q.worst.expected;
    worst["reference_expected"] = q.worst.reference_expected;
  } else {
    worst["logprob"] = -q.worst.value;
  }
  line["worst"] = std::move(worst);
  for (auto& [key, value] : q.about.items()) line[key] = value;
  line["version"] = TRIREME_VERSION;
  line["commit"] = kBuildCommit;
  fmt::print("{}\n", line.dump());
}

void print_text(const Quality& q, const Figures& figures) {
  auto line = [](const char* name, const std::string& text) { fmt::print("{:<12} {}\n", name, text); };
  line("quality", fmt::format("{} positions in {} windows of {} tokens, the first {} of each context only",
                              positions_of(q), q.windows.size(), q.window, q.unscored));
  line("perplexity", text_of(figures.perplexity));
  if (q.compared) {
    line("reference", text_of(figures.reference_perplexity));
    line("ratio", text_of(figures.ratio));
    line("KL", text_of(figures.kl) + " nats a position, reference || tested");
    line("top-1", text_of(figures.agreement, 100) + " % agree");
    line("worst",
         fmt::format("KL {:.4g} at token {} of the text: expected {}, the reference {}", q.worst.value, q.worst.token,
                     ordered_json(q.worst.expected).dump(), ordered_json(q.worst.reference_expected).dump()));
  } else {
    line("worst", fmt::format("log-prob {:.4g} at token {} of the text", -q.worst.value, q.worst.token));
  }
  for (auto& [key, value] : q.about.items())
    line(key.c_str(), value.is_string() ? value.get<std::string>() : value.dump());
  if (q.windows.size() > 1)
    line("(a to b)", "95 % interval of the mean, from the spread over the windows");
  else
    line("note", "one window has no spread, so no interval; take a longer text or a smaller --window");
}

}  // namespace

void print_quality(const Quality& quality, const Options& options) {
  const Figures figures(quality);
  options.json ? print_json(quality, figures) : print_text(quality, figures);
}

}  // namespace trireme
