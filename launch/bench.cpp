#include "launch/bench.h"

#include <algorithm>

#include "base/error.h"
#include "base/nearest.h"
#include "launch/commands.h"
#include "launch/probe_limits.h"

namespace trireme {

void bench_limits(const Options& options, Communicator& world) {
  if (world.rank() != 0) return;
  auto cpus = allowed_cpus();
  int threads = options.threads > 0 ? static_cast<int>(options.threads) : static_cast<int>(cpus.size());
  ThreadPool pool(threads,
                  threads <= static_cast<int>(cpus.size()) ? std::span<const int>(cpus) : std::span<const int>());
  Limits limits = probe_limits(pool);
  nlohmann::ordered_json about = {{"threads", threads}};
  print_figure({"read", "GB/s", {limits.read_gbps}, 0, 0, "", about}, options);
  print_figure({"fma", "GFLOP/s", {limits.fma_gflops}, 0, 0, "", about}, options);
  print_figure({"bf16", "GFLOP/s", {limits.bf16_gflops}, 0, 0, "", about}, options);
  print_figure({"int8", "GOP/s", {limits.int8_gops}, 0, 0, "", about}, options);
}

int bench_command(const Options& options, const Environment&) {
  struct Kind {
    std::string_view name;
    void (*run)(const Options& options, Communicator& world);
  };
  constexpr Kind kKinds[] = {{"limits", bench_limits}, {"load", bench_load},       {"collective", bench_collective},
                             {"decode", bench_decode}, {"prefill", bench_prefill}, {"quality", bench_quality}};
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
  Waiter waiter{std::chrono::milliseconds(static_cast<int64_t>(options.deadline_s * 1000))};
  Communicator world = Communicator::world(waiter);
  kind->run(options, world);
  world.barrier();
  return 0;
}

}  // namespace trireme
