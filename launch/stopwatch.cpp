#include "launch/stopwatch.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "launch/bench_report.h"
#include "model/synthetic_weights.h"

namespace trireme {

namespace {

constexpr int kMostSamples = 9;                                  // of a figure, of which the median counts
constexpr double kSampleSeconds = 0.01, kFigureSeconds = 0.025;  // that one should last, and that all of a figure may
constexpr int64_t kFewestSteps = 2;                              // of a sample

}  // namespace

Stopwatch::Stopwatch(const Options& options, Communicator& world, Log& log, const ModelShape& shape,
                     WeightChoice weights)
    : session_(options, world, std::make_unique<SyntheticWeights>(shape.name, shape.config(), weights)) {
  session_.load(log);
  engine_.emplace(session_.replica(), session_.runner(), nullptr, session_.config(), session_.scheduler_limits());
}

StepSeconds Stopwatch::decode(int64_t rows, int64_t position, bool lone) {
  StepLoad load{true, rows, position, kMostSteps};
  fill_cache(session_, load.blocks());
  load.generate = 1;
  const double step = static_cast<double>(rows) / measure_rate(session_, *engine_, load);
  load.generate = std::clamp(static_cast<int64_t>(kSampleSeconds / step), kFewestSteps, kMostSteps);
  return seconds(load, rows, lone);
}

StepSeconds Stopwatch::prompt(int64_t tokens, bool lone) {
  const StepLoad load{false, 1, tokens, 0};
  fill_cache(session_, load.blocks());                            // which it writes: memory that is there
  measure_rate(session_, *engine_, {false, 1, kBlockTokens, 0});  // wakes the threads
  return seconds(load, tokens, lone);
}

StepSeconds Stopwatch::seconds(const StepLoad& load, int64_t tokens, bool lone) {
  Communicator& world = session_.world();
  StepSeconds seconds;
  world.barrier();
  seconds.beside = static_cast<double>(tokens) / median_rate(load);
  if (!lone) return seconds;
  world.barrier();
  if (world.rank() == 0) seconds.lone = static_cast<double>(tokens) / median_rate(load);
  world.barrier();
  return seconds;
}

double Stopwatch::median_rate(const StepLoad& load) {
  const auto start = std::chrono::steady_clock::now();
  const auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  std::vector<double> rates;
  do rates.push_back(measure_rate(session_, *engine_, load));
  while (std::ssize(rates) < kMostSamples && spent() < kFigureSeconds);
  return median(rates);
}

}  // namespace trireme
