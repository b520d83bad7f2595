#include "launch/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/nearest.h"
#include "launch/calibrate.h"
#include "launch/commands.h"
#include "launch/probe_limits.h"
#include "model/shapes.h"

namespace trireme {

std::unique_ptr<ThreadPool> bench_team(const Options& options) {
  const std::vector<int> cpus = allowed_cpus();
  const int threads = options.threads > 0 ? static_cast<int>(options.threads) : static_cast<int>(cpus.size());
  return std::make_unique<ThreadPool>(
      threads, threads <= static_cast<int>(cpus.size()) ? std::span<const int>(cpus) : std::span<const int>());
}

void bench_limits(const Options& options, Communicator& world) {
  if (world.rank() != 0) return;
  const std::unique_ptr<ThreadPool> pool = bench_team(options);
  Limits limits = probe_limits(*pool);
  nlohmann::ordered_json about = {{"threads", pool->size()}};
  print_figure({"read", "GB/s", {limits.read_gbps}, 0, 0, "", about}, options);
  print_figure({"fma", "GFLOP/s", {limits.fma_gflops}, 0, 0, "", about}, options);
  print_figure({"bf16", "GFLOP/s", {limits.bf16_gflops}, 0, 0, "", about}, options);
  print_figure({"int8", "GOP/s", {limits.int8_gops}, 0, 0, "", about}, options);
}

namespace {

// Made-up weights are named by a shape and nothing else.
void check_shape(const Options& options, bool possible) {
  const bool shaped = !options.shape.empty();
  if (!possible && (shaped || options.synthetic_weights))
    fail(ExitCode::usage, "bench {} takes no --{}; made-up weights are for decode and prefill", options.input,
         shaped ? "shape" : "synthetic");
  if (shaped) get_shape(options.shape);
  const auto by_hand = [&](const char* option) {  // an environment may have it for other commands
    const auto origin = options.origin.find(option);
    return origin != options.origin.end() && origin->second == "command line";
  };
  if (shaped && by_hand("model"))
    fail(ExitCode::usage, "--shape {} and -m {} both name a model; keep one", options.shape, options.model);
  if (shaped && !options.synthetic_weights)
    fail(ExitCode::usage, "--shape {} has no weights; add --synthetic to make them up, or give -m MODEL in its place",
         options.shape);
  if (!shaped && options.synthetic_weights)
    fail(ExitCode::usage, "--synthetic makes up the weights of a shape; add --shape NAME, such as llama-3.1-8b");
  if (!shaped && by_hand("dtype"))
    fail(ExitCode::usage, "--dtype {} is of made-up weights here; store a model's own so by trireme convert --dtype {}",
         options.dtype, options.dtype);
}

}  // namespace

int bench_command(const Options& options, const Environment&) {
  Waiter waiter{options.deadline()};
  if (options.calibrate) {
    if (!options.input.empty())
      fail(ExitCode::usage, "--calibrate takes the place of a benchmark; leave '{}' out", options.input);
    Communicator world = Communicator::world(waiter);
    calibrate(options, world);
    return 0;
  }
  struct Kind {
    std::string_view name;
    void (*run)(const Options& options, Communicator& world);
  };
  constexpr Kind kKinds[] = {{"limits", bench_limits},         {"kernels", bench_kernels}, {"load", bench_load},
                             {"collective", bench_collective}, {"decode", bench_decode},   {"prefill", bench_prefill},
                             {"quality", bench_quality}};
  const Kind* kind =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& k) { return k.name == options.input; });
  if (kind == std::end(kKinds)) {
    std::vector<std::string> names;
    for (const Kind& k : kKinds) names.emplace_back(k.name);
    fail(ExitCode::usage, "there is no benchmark '{}'{}; there are {}; see trireme bench --help", options.input,
         did_you_mean(options.input, names), fmt::join(names, ", "));
  }
  if (!options.text_path.empty() && kind->run != bench_quality)
    fail(ExitCode::usage, "trireme bench {} takes no text, but '{}' follows; leave it out", options.input,
         options.text_path);
  check_shape(options, kind->run == bench_decode || kind->run == bench_prefill);
  Communicator world = Communicator::world(waiter);
  kind->run(options, world);
  world.barrier();
  return 0;
}

}  // namespace trireme
